"""A DuckDB file, open for one transaction: who else has it, what it says when it fails, the room a failed load took."""

from __future__ import annotations

import os
import re
import tempfile
import time
from contextlib import contextmanager, suppress
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import duckdb

from nyctaxi_etl.core.errors import NycTaxiError, Transient, UsageError, WarehouseError
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.warehouses.base import refused_write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_PAUSE_SECONDS = 0.1
# A file this young that doesn't begin as it should is being made by another process.
_MAKING_SECONDS = 2.0
# Enough for the row groups in flight; a transaction of any size spills to the file itself.
_SETTINGS = {"memory_limit": "512MB", "threads": "2", "preserve_insertion_order": "false"}
# A new file is for DuckDB 1.5, too, which can't open what 2.0 writes by default. See docs/decisions/0012.
if int(duckdb.__version__.partition(".")[0]) > 1:
    _SETTINGS["storage_compatibility_version"] = "v1.5.0"
# What DuckDB says when another process has the file open: on Linux and macOS, on Windows.
_LOCKED = ("Could not set lock on file", "used by another process")
# What it says to a statement that writes: to the file itself, to another one.
_ONLY_READS = ("attached in read-only mode", "disabled by configuration")
# The main header and the two that take turns, of 4096 bytes each; behind them come the blocks.
_HEADERS_BYTES = 3 * 4096
# Threads take turns at a file as processes do: DuckDB lets two of them double a month, or fail where one would wait.
_TURNS: dict[Path, Lock] = {}

_OTHER_FILE = "name another file with `to=duckdb:///path`"
_AS_BEFORE = "The month is what it was before."


class _Fault(NamedTuple):
    """What DuckDB says in one of these ``words`` is an error of this ``kind``; the texts take ``path`` and ``text``."""

    words: tuple[str, ...]
    kind: type[NycTaxiError]
    message: str
    hint: str


# The first that fits counts.
_FAULTS = (
    _Fault(
        ("No space left on device", "File too large", "Disk quota exceeded", "max_temp_directory_size"),
        WarehouseError,
        "{path}: there is no room left on its disk ({text}).",
        f"Make room, or {_OTHER_FILE}. {_AS_BEFORE}",
    ),
    _Fault(
        ("Permission denied", "Operation not permitted", "Read-only file system", "not permitted to"),
        UsageError,
        "{path} can't be written to: {text}",
        f"Give access to the file and to its folder, or {_OTHER_FILE}.",
    ),
    _Fault(
        ("replaying WAL",),
        WarehouseError,
        "{path} can't be opened: the log of its last changes, {path}.wal, is damaged or another file's. {text}",
        "Restore both from a backup. Or move the .wal away: the months that were in it alone are loaded again.",
    ),
    _Fault(
        ("Corrupt database file", "Could not read enough bytes"),
        WarehouseError,
        "{path} is damaged: {text}",
        f"Restore it from a backup. Or move it away, or {_OTHER_FILE}, and load the months again.",
    ),
    _Fault(
        ("read a database file with version number",),
        UsageError,
        "{path} was written by another version of DuckDB: {text}",
        f"Upgrade the package duckdb, or {_OTHER_FILE}.",
    ),
    _Fault(
        ("different configuration",),
        WarehouseError,
        "{path} is open in this program already: {text}",
        "Close that connection, then run again.",
    ),
)


@contextmanager
def opened(path: Path, lock_seconds: float, subject: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the file for one transaction, waiting while another thread or process has it.

    ``subject`` is the month that goes in, if one does: if that fails, the file is no larger than it was. Raises
    ``WarehouseError`` for one that is damaged, full or in use for long, ``UsageError`` for one of another kind or
    version, or that may not be written to, and ``Transient`` for a conflict.
    """
    with _TURNS.setdefault(path.resolve(), Lock()):
        try:
            with _connect(path, lock_seconds, subject) as connection, _transaction(connection, path):
                _check_is_database(connection, path)
                yield connection
        except BaseException:
            if subject:
                _cut_off_failed_load(path)
            raise


@contextmanager
def opened_to_read(path: Path, lock_seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the file for one statement that only reads it, waiting while another thread or process writes to it.

    DuckDB refuses to write to a file that was opened so; ``UsageError`` says it, and that a file isn't there.
    """
    with _TURNS.setdefault(path.resolve(), Lock()):
        if not path.exists():
            message = f"{path} isn't there yet: nothing has been loaded into it."
            raise UsageError(message, f"Load a month first, or {_OTHER_FILE}.")
        with _connect(path, lock_seconds, "", reads=True) as connection:
            _check_is_database(connection, path)
            try:
                yield connection
            except duckdb.Error as error:
                text = _first_line(error)
                writes = any(words in text for words in _ONLY_READS)
                raise (refused_write(text) if writes else _error_of(path, error)) from error


def check_folder(path: Path) -> None:
    """Refuse a file that can't be made, or is in a folder where DuckDB can't write its log. Raises ``UsageError``."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        message = f"{path} can't be written to: no file can be made in its folder {folder} ({error.strerror})."
        raise UsageError(message, f"Give access to that folder, or {_OTHER_FILE}.") from error


def _connect(path: Path, lock_seconds: float, subject: str, *, reads: bool = False) -> duckdb.DuckDBPyConnection:
    """Open the file once nobody else has it. Raises what ``opened`` does."""
    if subject:
        check_folder(path)
    deadline = time.monotonic() + lock_seconds
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return duckdb.connect(str(path), read_only=reads, config=dict(_SETTINGS))
        except (duckdb.Error, OSError) as error:
            text = _first_line(error)
            if not _is_in_use(path, text):
                raise _open_error(path, error) from error
            if time.monotonic() > deadline:
                message = f"{path} is held by {_holder(text)}: waited {lock_seconds:.0f} seconds for it."
                hint = "Close what has it open, then run again: finished months are not loaded twice."
                raise WarehouseError(message, hint) from error
        tell(Event(subject, "load" if subject else "warehouse", note=f"waiting for {_holder(text)}, at {path.name}"))
        time.sleep(_PAUSE_SECONDS)


def _is_in_use(path: Path, text: str) -> bool:
    """Tell from what DuckDB says whether another process has the file open, or is about to make it."""
    is_new = path.exists() and time.time() - path.stat().st_mtime < _MAKING_SECONDS
    return any(words in text for words in _LOCKED) or (is_new and "not a valid DuckDB database file" in text)


def _holder(text: str) -> str:
    """Return who has the file, as far as DuckDB says it: ``another program (/usr/bin/python3, PID 7)``."""
    holder = re.search(r"held in (.+?)(?: \((PID \d+)\))?( by user \w+)?\. See", text)
    parts = ", ".join(filter(None, holder.groups())).replace(",  by", " by") if holder else ""
    return f"another program ({parts})" if parts else "another program"


def _open_error(path: Path, error: Exception) -> NycTaxiError:
    text = _first_line(error)
    fault = _fault_of(path, text)
    if fault:
        return fault
    return UsageError(f"{path} can't be opened as a DuckDB file: {text}", f"{_OTHER_FILE.capitalize()}.")


def _fault_of(path: Path, text: str) -> NycTaxiError | None:
    for fault in _FAULTS:
        if any(words in text for words in fault.words):
            return fault.kind(fault.message.format(path=path, text=text), fault.hint)
    return None


def _check_is_database(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Refuse a file of another kind: DuckDB opens a CSV file as a database in memory, and has guests for others."""
    sql = "SELECT path IS NOT NULL AND type = 'duckdb' FROM duckdb_databases() WHERE database_name = current_database()"
    if connection.execute(sql).fetchone() != (True,):
        message = f"{path} is not a DuckDB file."
        raise UsageError(message, f"{_OTHER_FILE.capitalize()}.")


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[None]:
    """Commit at the end, or roll back. Only a conflict with another transaction is ``Transient``."""
    try:
        connection.begin()
        yield
        connection.commit()
    except duckdb.Error as error:
        raise _error_of(path, error) from error


def _error_of(path: Path, error: duckdb.Error) -> NycTaxiError:
    text = _first_line(error)
    fault = _fault_of(path, text)
    if fault:
        return fault
    if isinstance(error, duckdb.TransactionException) and "onflict" in text:
        return Transient(f"DuckDB: {text}", "Another month was committed at the same moment.")
    if isinstance(error, duckdb.ConstraintException):
        hint = "Somebody has added it to the table: drop it, or mend what it refuses. " + _AS_BEFORE
        return WarehouseError(f"{path}: a constraint of the table refuses rows: {text}", hint)
    return WarehouseError(f"DuckDB refused: {text}", _AS_BEFORE)


def _cut_off_failed_load(path: Path) -> None:
    """Cut off what a failed load wrote behind the file's last block: DuckDB keeps it, for the next load alone.

    A connection that has just been opened counts the blocks of what is committed, and its lock keeps others away.
    What the log beside the file speaks of may be behind them: then nothing is cut.
    """
    log = path.with_name(f"{path.name}.wal")
    with suppress(duckdb.Error, OSError), duckdb.connect(str(path), config=dict(_SETTINGS)) as connection:
        sql = "SELECT total_blocks * block_size FROM pragma_database_size()"
        end = _HEADERS_BYTES + int(connection.execute(sql).fetchall()[0][0])
        if path.stat().st_size > end and not (log.exists() and log.stat().st_size):
            # By name: to close a second descriptor of the file would give up the lock.
            os.truncate(path, end)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
