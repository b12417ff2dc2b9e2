"""What any other database of SQLAlchemy's says when it refuses, in our words: what will pass, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from nyctaxi_etl.core.errors import Transient, WarehouseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Engine

_AS_BEFORE = "The month is what it was before."

# What passes by itself, by the driver's code: a lock, too many clients, a server that stops or is out of reach.
# Of a dialect that isn't here each OperationalError is taken for passing: the standard says no more of it.
_MYSQL = frozenset({1040, 1053, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 1927, 2002, 2003, 2006, 2013, 2055, 4031})
_PASSING: Mapping[str, frozenset[int | str]] = {
    "sqlite": frozenset({"SQLITE_BUSY", "SQLITE_LOCKED"}),
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
}

# SQLite's answer to a write under its query_only, and MySQL's in a transaction that only reads.
_ONLY_READS = frozenset({"SQLITE_READONLY", 1792})


class _Fault(NamedTuple):
    """Which ``codes`` of a driver, or ``words`` of its message, mean what a ``hint`` can be given for."""

    codes: frozenset[int | str]
    words: tuple[str, ...]
    means: str
    hint: str


# The first that fits counts. SQLite's SQLITE_IOERR is a limit of the file's size, or a broken disk.
_FAULTS = (
    _Fault(
        frozenset({"SQLITE_FULL", "SQLITE_IOERR", 1021, 1114}),
        ("No space left", "disk full", "errno: 28", "error 28"),
        "there is no room left on its disk",
        f"Make room, or load into another database. {_AS_BEFORE}",
    ),
    _Fault(
        frozenset({"SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH", 1044, 1142, 1227, 1290}),
        ("denied", "read-only", "read only"),
        "it may not be opened or written to",
        f"Give access to it (a file needs its folder, too). {_AS_BEFORE}",
    ),
    _Fault(
        frozenset({"SQLITE_CONSTRAINT", 1048, 1062, 1364, 1452, 3819, 4025}),
        (),
        "a constraint of the table refuses rows",
        f"Somebody has added it to the table: drop it, or mend what it refuses. {_AS_BEFORE}",
    ),
    _Fault(
        frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"}),
        (),
        "it is damaged, or no database",
        "Restore it from a backup, or name another with `to=`.",
    ),
)


def error_of(error: Exception, engine: Engine) -> Transient | WarehouseError:
    """Return our error for one of SQLAlchemy's: ``Transient`` only if trying again may help."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    text = (str(cause).splitlines() or [type(cause).__name__])[0]
    database = " ".join(filter(None, (engine.dialect.name, engine.url.host, engine.url.database)))
    code = _code(cause)
    if isinstance(error, DBAPIError) and _passes(error, code, engine.dialect.name):
        hint = "Is it up, or does another program hold it? The month is what it was; run again."
        return Transient(f"{database}: {text}", hint)
    for fault in _FAULTS:
        if code in fault.codes or any(word in text for word in fault.words):
            return WarehouseError(f"{database}: {fault.means}: {text}", fault.hint)
    if isinstance(error, IntegrityError):
        return WarehouseError(f"{database}: {_FAULTS[2].means}: {text}", _FAULTS[2].hint)
    return WarehouseError(f"{database} refused: {text}", _AS_BEFORE)


def is_busy(error: DBAPIError) -> bool:
    """Tell whether SQLite found the file locked by another connection."""
    return _code(error.orig) in _PASSING["sqlite"]


def is_refused_write(error: DBAPIError) -> bool:
    """Tell whether a database refused to write in a transaction that only reads."""
    return _code(error.orig) in _ONLY_READS


def _passes(error: DBAPIError, code: int | str | None, dialect: str) -> bool:
    if error.connection_invalidated:
        return True
    if dialect in _PASSING:
        return code in _PASSING[dialect]
    return isinstance(error, OperationalError)


def _code(cause: object) -> int | str | None:
    """Return the driver's code: SQLite's name without its refinement, or the number that others begin with."""
    name = getattr(cause, "sqlite_errorname", None)
    if isinstance(name, str):
        return "_".join(name.split("_")[:2])
    arguments = getattr(cause, "args", ())
    number = getattr(cause, "errno", None) or (arguments[0] if arguments else None)
    return number if isinstance(number, int) else None
