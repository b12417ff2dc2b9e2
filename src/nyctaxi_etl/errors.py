"""What can go wrong with a month of trips, and what the reader can do about it.

    NycTaxiError            a month, or a command, could not be done; carries a hint
    ├── UsageError          the question makes no sense: wrong option, setting or block
    ├── NotPublished        the source has no such file
    ├── Blocked             the source answered with a web page instead of data
    ├── Transient           a connection broke or a server was busy: trying again helps
    ├── CorruptFile         the bytes are not what they say they are
    ├── SchemaDrift         the file is whole, but it is not the layout of its colour
    ├── QualityError        rows were not conserved
    ├── WarehouseError      the warehouse refused, or holds something that is not ours
    └── LakeError           the lake refused

A ``NycTaxiError`` fails its month and the next month goes on. Anything else is a bug and is raised.
"""


class NycTaxiError(Exception):
    """Something the user can understand: what happened, where, and the next move.

    ``message`` names the thing and the place, ``hint`` the next move (may be empty). Neither holds a secret.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(NycTaxiError):
    """A wrong option, setting or block: exit code 2, before anything is moved."""


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


class QualityError(NycTaxiError):
    """Rows read, rejected and loaded do not add up; nothing was committed."""


class WarehouseError(NycTaxiError):
    """The warehouse refused the month; it holds what it held before."""


class LakeError(NycTaxiError):
    """The lake refused the month; it holds what it held before."""
