"""What Postgres says when it refuses, in our words: what will pass by itself, and what to do about the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import psycopg
from sqlalchemy.exc import DBAPIError

from nyctaxi_etl.core.errors import Transient, WarehouseError

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

# What libpq says when a connection can't be made for a reason that won't pass.
_FINAL = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry", "not permitted")
# SQLSTATEs that pass: the connection (08), a conflict (40), memory and clients (53200, 53300), a lock (55P03), a server
# that stops or starts (57P01 to 57P03). Any other one is the same at the next attempt.
_PASSING = ("08", "40", "53200", "53300", "55P03", "57P01", "57P02", "57P03")
_AS_BEFORE = "The month is what it was before."


class _Fault(NamedTuple):
    """Which SQLSTATEs (or how they begin) mean what a ``hint`` can be given for."""

    states: tuple[str, ...]
    means: str
    hint: str


# The first that fits counts.
_FAULTS = (
    _Fault(
        ("53100",),
        "there is no room left on the server's disk",
        f"Make room there: a month needs its new rows beside the old ones until the commit. {_AS_BEFORE}",
    ),
    _Fault(
        ("57014", "25P03", "25P04", "57P05"),
        "it was stopped, by a limit of time or by hand",
        "Raise that limit for this user: ALTER ROLE ... SET statement_timeout = 0 (or the one that is named). "
        + _AS_BEFORE,
    ),
    _Fault(
        ("23",),
        "a constraint of the table refuses rows",
        f"Somebody has added it to the table: drop it, or mend what it refuses. {_AS_BEFORE}",
    ),
    _Fault(
        ("2BP01",),
        "something was made of the month's partition, which is replaced with it",
        f"Make the view or foreign key of the whole table instead, and drop it from the partition. {_AS_BEFORE}",
    ),
    _Fault(
        ("25006",),
        "nothing can be written there",
        "Is it a standby, or default_transaction_read_only on? Connect to the primary, as a user who may write.",
    ),
    _Fault(("42501",), "not permitted", "The user needs CREATE on the schema and owns the tables it loads."),
    _Fault(
        ("55000",),
        "the table can't be changed as it is",
        "If it speaks of a replica identity: ALTER TABLE ... ADD PRIMARY KEY, or take it out of the publication. "
        + _AS_BEFORE,
    ),
)


def error_of(error: Exception, engine: Engine) -> Transient | WarehouseError:
    """Return our error for one of psycopg's or SQLAlchemy's: ``Transient`` only if trying again may help."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    text = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    server = f"Postgres at {engine.url.host or 'the local socket'}"
    state = (cause.sqlstate or "") if isinstance(cause, psycopg.Error) else ""
    if state.startswith(_PASSING) or (not state and _is_lost_connection(cause)):
        return Transient(f"{server}: {text}", "Is the server up? The month is what it was; run again.")
    for fault in _FAULTS:
        if state.startswith(fault.states):
            return WarehouseError(f"{server}: {fault.means}: {_detailed(cause, text)}", fault.hint)
    if isinstance(cause, psycopg.OperationalError) and any(word in str(cause) for word in _FINAL):
        return WarehouseError(
            f"{server}: {text}", "Set PGPASSWORD or the password file, or check the block's settings."
        )
    return WarehouseError(f"{server} refused: {text}", _AS_BEFORE)


def _is_lost_connection(cause: BaseException | None) -> bool:
    """Tell whether what has no SQLSTATE is a connection that broke or could not be made, for now."""
    return isinstance(cause, psycopg.OperationalError) and not any(word in str(cause) for word in _FINAL)


def _detailed(cause: BaseException | None, text: str) -> str:
    """Return the message, with what depends on the thing if that is it. Other details quote rows."""
    detail = cause.diag.message_detail if isinstance(cause, psycopg.errors.DependentObjectsStillExist) else None
    return f"{text} ({detail.splitlines()[0]})" if detail else text
