"""What a database of SQLAlchemy's says is told by its code: what passes is tried again, what won't is not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from nyctaxi_etl.core.errors import Transient, UsageError, WarehouseError
from nyctaxi_etl.warehouses.sqlalchemy.errors import error_of
from nyctaxi_etl.warehouses.sqlalchemy.warehouse import AnyDatabase

# As PyMySQL and mysqlclient raise them: a number and a text.
PASSES = {
    1040: "Too many connections",
    1205: "Lock wait timeout exceeded; try restarting transaction",
    1213: "Deadlock found when trying to get lock; try restarting transaction",
    2003: "Can't connect to MySQL server on 'host'",
    2013: "Lost connection to MySQL server during query",
}
STAYS = {
    1021: ("Disk full (/var/tmp); waiting for someone to free some space", "Make room"),
    1114: ("The table 'trips' is full", "Make room"),
    1030: ('Got error 28 "No space left on device" from storage engine InnoDB', "Make room"),
    1045: ("Access denied for user 'taxi'@'host' (using password: NO)", "Give access"),
    1142: ("INSERT command denied to user 'taxi'@'host' for table 'trips'", "Give access"),
    1290: ("The MariaDB server is running with the --read-only option", "Give access"),
    1364: ("Field 'agent' doesn't have a default value", "Somebody has added it"),
    4025: ("CONSTRAINT `fair` failed for `trips`.`trips`", "Somebody has added it"),
    1054: ("Unknown column 'zone' in 'field list'", "what it was before"),
}


def _engine(dialect: str) -> sa.Engine:
    """Return an engine that connects to nothing, its driver not installed."""
    driver = SimpleNamespace(paramstyle="pyformat", Error=Exception, VERSION=(1, 1))
    return sa.create_engine(f"{dialect}+pymysql://taxi@host/trips", module=driver)


def _raised(code: int, text: str, kind: type[DBAPIError] = OperationalError) -> DBAPIError:
    return kind("INSERT ...", {}, Exception(code, text))


@pytest.mark.parametrize("dialect", ["mysql", "mariadb"])
@pytest.mark.parametrize("code", PASSES)
def test_what_passes_is_tried_again(dialect: str, code: int) -> None:
    """A lock, too many clients, a server out of reach."""
    error = error_of(_raised(code, PASSES[code]), _engine(dialect))
    assert type(error) is Transient
    assert "host" in error.message


@pytest.mark.parametrize("dialect", ["mysql", "mariadb"])
@pytest.mark.parametrize("code", STAYS)
def test_what_stays_is_told(dialect: str, code: int) -> None:
    """The drivers call all of it operational; trying again is no help, and the hint is what is."""
    text, hint = STAYS[code]
    error = error_of(_raised(code, text), _engine(dialect))
    assert type(error) is WarehouseError
    assert hint in error.hint


def test_a_constraint_is_told() -> None:
    """Also in a dialect of which no code is declared."""
    error = error_of(_raised(7, "fair is violated", IntegrityError), sa.create_engine("sqlite:///trips"))
    assert type(error) is WarehouseError
    assert "constraint" in error.message


def test_a_lost_connection_is_tried_again() -> None:
    """Whatever it is called: SQLAlchemy knows it for every dialect."""
    lost = DBAPIError("INSERT ...", {}, Exception("gone"), connection_invalidated=True)
    assert type(error_of(lost, _engine("mysql"))) is Transient


class _Connection:
    """A connection of a driver that answers nothing: what it is asked is in ``asked``."""

    def __init__(self, asked: list[str]) -> None:
        self.asked, self.description, self.rowcount = asked, None, -1

    def cursor(self) -> _Connection:
        """Return itself."""
        return self

    def execute(self, statement: str, _values: object = None) -> None:
        """Refuse a DELETE as MySQL does in a transaction that only reads."""
        self.asked.append(statement)
        if statement.startswith("DELETE"):
            raise _ServerError(1792, "Cannot execute statement in a READ ONLY transaction.")

    def commit(self) -> None:
        """Note it."""
        self.asked.append("COMMIT")

    def rollback(self) -> None:
        """Note it."""
        self.asked.append("ROLLBACK")

    def close(self) -> None:
        """Do nothing."""


class _ServerError(Exception):
    """What the driver raises."""


@pytest.mark.parametrize("dialect", ["mysql", "mariadb"])
@pytest.mark.parametrize(
    ("statement", "says"),
    [("DELETE FROM trips", "Cannot execute statement in a READ ONLY"), ("CALL clean()", "returns no rows")],
)
def test_a_query_that_writes_is_refused(dialect: str, statement: str, says: str) -> None:
    """The transaction is told to read only before the statement runs, and is never committed."""
    asked: list[str] = []
    others = dict.fromkeys(("ProgrammingError", "InterfaceError", "InternalError"), ArithmeticError)
    kinds = {"Error": Exception, "OperationalError": _ServerError, **others}
    driver = SimpleNamespace(paramstyle="pyformat", VERSION=(1, 1), connect=lambda **_: _Connection(asked), **kinds)
    engine = sa.create_engine(f"{dialect}+pymysql://taxi@host/trips", module=driver, _initialize=False)
    with AnyDatabase(engine) as warehouse, pytest.raises(UsageError, match=f"A query only reads: .*{says}"):
        warehouse.query(statement)
    asked = [one for one in asked if "autocommit" not in one]
    assert asked[:2] == ["SET TRANSACTION READ ONLY", statement]
    assert set(asked[2:]) == {"ROLLBACK"}
