"""Settings become Prefect blocks, and blocks become engines. Credentials live here and nowhere else.

A block is always made of components with a secret password: an address string would store and show it in clear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nyctaxi_etl.errors import NycTaxiError, UsageError
from nyctaxi_etl.warehouses import from_engine, open_warehouse

if TYPE_CHECKING:
    from prefect_sqlalchemy import SqlAlchemyConnector

    from nyctaxi_etl.config import Settings
    from nyctaxi_etl.pipeline import Job
    from nyctaxi_etl.warehouses import Warehouse

PREFIX = "block:"
POSTGRES_BLOCK = "postgres-connection"
_CONNECT_SECONDS = 10


@dataclass(frozen=True)
class BlockStatus:
    """What became of one block: registered, skipped or failed, and the one thing to do about it."""

    name: str
    kind: str
    status: str
    note: str

    @property
    def is_failed(self) -> bool:
        """Tell whether there is something to fix."""
        return self.status == "failed"


def warehouse_of(job: Job) -> Warehouse:
    """Return the warehouse that a job names: a block of Prefect's, or an address. Nothing is connected to yet.

    Raises ``UsageError`` for a block that isn't registered or isn't a SQLAlchemy connector.
    """
    if not job.to.startswith(PREFIX):
        return open_warehouse(job.to, job.data_dir)
    return from_engine(_load(job.to.removeprefix(PREFIX)).get_engine())


def register(settings: Settings) -> tuple[BlockStatus, ...]:
    """Register each block that the settings are complete for, in place of its namesake; say what was skipped."""
    missing = missing_postgres(settings)
    if missing:
        note = f"not configured: set {', '.join(missing)}"
        return (BlockStatus(POSTGRES_BLOCK, "SqlAlchemyConnector", "skipped", note),)
    postgres_block(settings).save(POSTGRES_BLOCK, overwrite=True)
    note = f"{settings.postgres_user}@{settings.postgres_host}:{settings.postgres_port}/{settings.postgres_database}"
    return (BlockStatus(POSTGRES_BLOCK, "SqlAlchemyConnector", "registered", note),)


def check(statuses: tuple[BlockStatus, ...]) -> tuple[BlockStatus, ...]:
    """Open each block that was registered, and say what to fix where that fails."""
    return tuple(_checked(status) if status.status == "registered" else status for status in statuses)


def missing_postgres(settings: Settings) -> list[str]:
    """Return the names of the settings that the Postgres block lacks."""
    needed = ("host", "user", "database")
    return [f"NYCTAXI_POSTGRES_{name.upper()}" for name in needed if not getattr(settings, f"postgres_{name}")]


def postgres_block(settings: Settings) -> SqlAlchemyConnector:
    """Make the Postgres block from settings; the password is a secret, and any character in it is safe."""
    from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector

    components = ConnectionComponents(
        driver="postgresql+psycopg",
        username=settings.postgres_user,
        password=settings.postgres_password if settings.postgres_password.get_secret_value() else None,
        host=settings.postgres_host,
        port=settings.postgres_port,
        database=settings.postgres_database,
        query={"sslmode": settings.postgres_sslmode} if settings.postgres_sslmode else None,
    )
    return SqlAlchemyConnector(connection_info=components)


def _load(name: str) -> SqlAlchemyConnector:
    from prefect_sqlalchemy import SqlAlchemyConnector

    try:
        return SqlAlchemyConnector.load(name)
    except ValueError as error:
        message = f"{PREFIX}{name}: no such SqlAlchemyConnector block is registered."
        raise UsageError(message, "Register it with `nyctaxi blocks-init`, or name another in --to.") from error


def _checked(status: BlockStatus) -> BlockStatus:
    try:
        with from_engine(_load(status.name).get_engine()) as warehouse:
            version = str(warehouse.query("SHOW server_version")[0][0])
    except NycTaxiError as error:
        return BlockStatus(status.name, status.kind, "failed", f"{error.message} {error.hint}")
    return BlockStatus(status.name, status.kind, "works", f"{status.note}, Postgres {version}")
