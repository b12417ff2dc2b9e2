"""Settings become Prefect blocks, and blocks become engines. Credentials live here and nowhere else.

A block is always made of components with a secret password: an address string would store and show it in clear.
"""

from __future__ import annotations

import signal
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
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


def start_server() -> None:
    """Start Prefect's own server and wait for it, unless another one is set up or none is wanted.

    Ctrl-C in a terminal reaches every process that was started there. The server must outlive it: a flow run whose
    server is gone asks for it for two minutes before it ends.
    """
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    known = get_current_settings()
    if known.api.url or not known.server.ephemeral.enabled:
        return
    started: Future[None] = Future()

    def start() -> None:
        if hasattr(signal, "pthread_sigmask"):  # what a thread blocks stays blocked in the processes that it starts
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            SubprocessASGIServer().start()
            started.set_result(None)
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            started.set_exception(error)

    Thread(target=start, name="prefect-server", daemon=True).start()
    started.result()


def warehouse_of(job: Job) -> Warehouse:
    """Return the warehouse that a job names: a block of Prefect's, or an address. Nothing is connected to yet.

    Raises ``UsageError`` for a block that isn't registered or isn't a SQLAlchemy connector.
    """
    if not job.to.startswith(PREFIX):
        return open_warehouse(job.to, job.data_dir)
    return _open(job.to.removeprefix(PREFIX))


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


def is_configured(settings: Settings) -> bool:
    """Tell whether there is a block to register, so that Prefect is needed."""
    return not missing_postgres(settings)


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


def _open(name: str) -> Warehouse:
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        return from_engine(_load(name).get_engine())
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        message = f"--to {PREFIX}{name}: the block's database can't be opened ({error})."
        raise UsageError(message, "Install its driver, or register it again with `nyctaxi blocks-init`.") from None


def _load(name: str) -> SqlAlchemyConnector:
    from prefect_sqlalchemy import SqlAlchemyConnector

    try:
        return SqlAlchemyConnector.load(name)
    except ValueError as error:
        if "Unable to find block document" not in str(error):
            raise
        message = f"--to {PREFIX}{name}: no SqlAlchemyConnector block of this name is registered."
        raise UsageError(message, "Register it with `nyctaxi blocks-init`, or name another in --to.") from error


def _checked(status: BlockStatus) -> BlockStatus:
    try:
        with _open(status.name) as warehouse:
            version = str(warehouse.query("SHOW server_version")[0][0])
    except NycTaxiError as error:
        return BlockStatus(status.name, status.kind, "failed", f"{error.message} {error.hint}")
    return BlockStatus(status.name, status.kind, "works", f"{status.note}, Postgres {version}")
