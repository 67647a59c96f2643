"""PostgreSQL as a child process: a cluster made once, durable settings, roles and database put in place."""

import os
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

import asyncpg

import smsblossom
from smsblossom.embedded.accounts import give
from smsblossom.embedded.binaries import Binaries
from smsblossom.embedded.errors import EmbeddedError
from smsblossom.embedded.places import Places
from smsblossom.embedded.processes import Program, Say, has_word, news, spawn, tail

SUPERUSER, OWNER, APP, DATABASE = "postgres", "smsblossom_owner", "smsblossom_app", "smsblossom"

_CONNECT_WITHIN = 5.0
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    # An acknowledged webhook survives a power cut: these three are promises, not preferences.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}


def url(places: Places, user: str, database: str = DATABASE) -> str:
    return f"postgresql://{user}@/{database}?host={places.sockets}"


def program(binaries: Binaries, places: Places) -> Program:
    settings = _SETTINGS | {"unix_socket_directories": str(places.sockets)}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    async def answers() -> bool:
        try:
            connection = await _connect(places)
        except (OSError, asyncpg.PostgresError):  # TimeoutError is an OSError
            return False
        await connection.close()
        return True

    return Program(
        name="PostgreSQL",
        command=(str(binaries.postgres), "-D", str(places.postgres), "-p", "5432", *options),
        data=places.postgres,
        pid_file=places.pid_file("postgres"),
        log=places.log("postgres"),
        account=places.account,
        # Fast shutdown, then immediate shutdown, which the next start recovers from.
        stop=((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0)),
        answers=answers,
        clear=lambda: _forget_stale_pid(places.postgres),
    )


async def make_cluster(binaries: Binaries, places: Places, say: Say) -> None:
    """Run initdb beside the final place and rename when it is done: a cluster is whole or absent."""
    if places.postgres.exists():
        return
    for left_over in places.work.glob("postgres.new-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=places.work))
    give(new, places.account)
    log = places.log("initdb")
    command = (
        str(binaries.initdb), "-D", str(new), "--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8",
        # Built in, so that sorting is the same on every platform and needs no locale installed.
        "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C",
    )  # fmt: skip
    async with news(say, "Creating the database files (once) ..."):
        process = await spawn(command, places.account, log, places.pid_file("initdb"), dies_by=signal.SIGKILL)
        try:
            code = await process.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            raise
    if code != 0:
        raise EmbeddedError(f"initdb ended with exit code {code}. The end of {log}:\n{tail(log)}")
    _publish(new, places.postgres)


async def make_database(places: Places) -> None:
    """The roles of migrations/roles.sql and the owner's database; what is there already stays as it is."""
    connection = await _connect(places)
    try:
        await connection.execute(roles_sql())
        if await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE) is None:
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        # No statements (above) and no row values of failed ones: the log must hold nothing personal.
        await connection.execute(f"ALTER DATABASE {DATABASE} SET log_error_verbosity = terse")
    finally:
        await connection.close()


async def _connect(places: Places) -> "asyncpg.Connection[asyncpg.Record]":
    return await asyncpg.connect(url(places, SUPERUSER, "postgres"), timeout=_CONNECT_WITHIN)


def roles_sql() -> str:
    """The statements that make the service's roles; a superuser runs them, as often as it likes."""
    package = Path(smsblossom.__file__).parent
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "roles.sql").exists():
            return (folder / "roles.sql").read_text(encoding="utf-8")
    raise EmbeddedError(f"migrations/roles.sql is missing beside {package}: install SMS Blossom again.")


def _forget_stale_pid(cluster: Path) -> None:
    """Remove a postmaster.pid whose number some other program has by now: PostgreSQL would refuse to start.

    With a number nobody has, PostgreSQL must see the file: it names the shared memory that the killed server's
    children may still be using.
    """
    file = cluster / "postmaster.pid"
    try:
        pid = int(file.read_text(encoding="utf-8").split("\n", 1)[0])
        os.kill(pid, 0)
    except (FileNotFoundError, ValueError, ProcessLookupError, PermissionError):
        return
    if not has_word(pid, str(cluster)):
        file.unlink(missing_ok=True)


def _publish(new: Path, final: Path) -> None:
    """Rename, and make the name as durable as the files, which initdb has synced."""
    new.rename(final)
    descriptor = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
