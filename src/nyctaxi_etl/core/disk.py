"""What a file system refuses, as an error of ours: which path, why, and the next move."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from nyctaxi_etl.core.errors import NycTaxiError, UsageError

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path


@contextmanager
def disk_errors_as(
    kind: type[NycTaxiError], path: Path, hint: str, *, subject: str = "", usage: Container[int] = ()
) -> Iterator[None]:
    """Raise an ``OSError`` of the block as ``kind``, naming the path that was refused; ``path`` if it names none.

    Its message begins with ``subject`` if there is one. Numbers in ``usage`` (``errno``) are the user's to mend and
    become a ``UsageError``. An error without a number is not the file system's (Arrow says ``OSError`` of damaged
    bytes, too) and passes as it is.
    """
    try:
        yield
    except OSError as error:
        if not error.errno:
            raise
        about = f"{subject}: " if subject else ""
        message = f"{about}{error.filename or path}: {error.strerror or error}."
        raise (UsageError if error.errno in usage else kind)(message, hint) from error
