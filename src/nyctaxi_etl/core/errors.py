"""What can go wrong with a month of trips, and what the reader can do about it.

    NycTaxiError            a month, or a command, could not be done; carries a hint
    ├── UsageError          the question makes no sense: wrong option, setting or block
    ├── NotPublished        the source has no such file
    ├── Blocked             the source answered with a web page instead of data
    ├── Transient           a connection broke or a server was busy: trying again helps
    ├── CorruptFile         the bytes are not what they say they are
    ├── SchemaDrift         the file is whole, but it is not the layout of its colour
    ├── WrongFile           the file is whole, but of another month or colour than its name says
    ├── QualityError        rows were not conserved
    ├── WarehouseError      the warehouse refused, or holds something that is not ours
    ├── LakeError           the lake refused
    ├── Bug                 an exception that nobody foresaw
    └── IncompleteRun       a flow ended, but not with every month; carries its report

Each fails its month and the next month goes on, but for a ``UsageError``: that is wrong for every month.
"""

from __future__ import annotations

import re
import traceback
from typing import TYPE_CHECKING, Self

_LONGEST = 500
# Where drivers and servers are wont to repeat what they were given: an address, or a name with its value.
_IN_ADDRESS = re.compile(r"(?:\b[A-Za-z][\w+.-]*:/|//)[^\s'\"]*@")
_NAMED = re.compile(
    r"((?:password|passwd|pwd|secret|token|signature|credential|private_key|api_?key|upload_id|authorization)"
    r"[\"']?\s*[=:]\s*)(?:[bfru]?\"[^\"]*\"|[bfru]?'[^']*'|(?:(?:basic|bearer)\s+)?[^\s,;&)}\]]+)",
    re.IGNORECASE,
)

if TYPE_CHECKING:
    from nyctaxi_etl.core.report import LoadReport


class NycTaxiError(Exception):
    """Something the user can understand: what happened, where, and the next move.

    ``message`` names the thing and the place, ``hint`` the next move (may be empty). Neither holds a secret. What a
    hint quotes stands in backticks: a shell command, or an argument as Python writes it, `to=duckdb:///path` or
    `force=True`. The command line spells arguments as its options: see ``cli.spelling``.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(NycTaxiError):
    """A wrong option, setting or block: exit code 2, before anything is moved.

    ``about`` is the argument or setting that is wrong, by its name in Python (``data_dir``), empty if it is none or
    several. The message then begins with what was given, and its text is as Python writes it: ``source=tcl: there is
    no such folder.``
    """

    def __init__(self, message: str, hint: str = "", *, about: str = "") -> None:
        super().__init__(message, hint)
        self.about = about

    def __str__(self) -> str:
        return f"{self.about}={self.message}" if self.about else self.message


class NotPublished(NycTaxiError):  # noqa: N818 - a state of the world, named as users name it
    """The source has no file for this month."""


class Blocked(NycTaxiError):  # noqa: N818 - as above
    """The source answered with a web page: a firewall, a proxy or a log-in, not an unpublished month."""


class Transient(NycTaxiError):  # noqa: N818 - as above
    """A broken connection or a busy server. Retried with a growing pause.

    ``retry_after`` is what the server asked for, in seconds, if it did.
    """

    def __init__(self, message: str, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class CorruptFile(NycTaxiError):  # noqa: N818 - as above
    """The bytes are truncated, damaged or of another kind than the name says."""


class SchemaDrift(NycTaxiError):  # noqa: N818 - as above
    """The file is whole, but its columns or values are not those of its colour."""


class WrongFile(NycTaxiError):  # noqa: N818 - as above
    """The file is whole, but of another month or colour than its name says."""


class QualityError(NycTaxiError):
    """Rows read, rejected and loaded do not add up; nothing was committed."""


class WarehouseError(NycTaxiError):
    """The warehouse refused the month; it holds what it held before."""


class LakeError(NycTaxiError):
    """The lake refused the month; it holds what it held before."""


class Bug(NycTaxiError):  # noqa: N818 - as above
    """An exception that nobody foresaw, inside one month's work or a command's.

    ``trace`` is its traceback, for ``--debug`` and the log.
    """

    def __init__(self, message: str, hint: str = "", trace: str = "") -> None:
        super().__init__(message, hint)
        self.trace = trace

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Say of an exception what it is; secrets that its words may repeat are left out."""
        lines = str(error).splitlines()
        words = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        hint = "This is a bug in nyctaxi: report it with its traceback."
        return cls(_printable(words)[:_LONGEST], hint, trace_of(error))


class IncompleteRun(NycTaxiError):  # noqa: N818 - as above
    """A flow is done, but a month of it failed or is missing; the others are in. ``report`` tells of each."""

    def __init__(self, message: str, hint: str, report: LoadReport) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, report)  # what it is unpickled with
        self.report = report


def trace_of(error: BaseException) -> str:
    """Return an exception's traceback; secrets that its words may repeat are left out."""
    return _printable("".join(traceback.format_exception(error)))


def _printable(text: str) -> str:
    """Return text that any file takes, without what may be a secret."""
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return _NAMED.sub(r"\1...", _IN_ADDRESS.sub("//...@", whole))
