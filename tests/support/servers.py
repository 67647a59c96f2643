"""The servers of one test run: one pair for all xdist workers, one template database, one clone per worker.

Run as a script it is the keeper: a process of its own that holds the embedded servers until it is told to stop or
the test run's main process is gone, so that no single worker has to live as long as the run.
"""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from smsblossom import embedded
from smsblossom.embedded import postgres

START_WITHIN = 150.0
_POLL = 0.05


@dataclass(frozen=True, slots=True)
class TestServers:
    """Where the servers of this run are. `superuser_url` leads to a maintenance database, not to the service's."""

    superuser_url: str
    redis_url: str
    template: str

    __test__ = False


@dataclass(frozen=True, slots=True)
class Database:
    """One migrated database, as its three kinds of user see it."""

    name: str
    admin_url: str
    app_url: str
    superuser_url: str


# --- URLs


def with_role(url: str, *, user: str | None, database: str) -> str:
    """The same server, another user (None: the same one) and database; the password stays, whoever it is for."""
    parts = urlsplit(url)
    credentials, _, host = parts.netloc.rpartition("@")
    old, colon, password = credentials.partition(":")
    netloc = f"{old if user is None else user}{colon}{password}@{host}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{database}"))


def redis_database(url: str, number: int) -> str:
    """The same server, another of its numbered databases."""
    parts = urlsplit(url)
    path = parts.path if parts.scheme == "unix" else ""
    return f"{parts.scheme}://{parts.netloc}{path}?db={number}"


# --- one pair of servers per run


def make_run_folder() -> Path:
    """A folder of the run; others may pass through it, because as root the servers are another user's."""
    folder = Path(tempfile.mkdtemp(prefix="smsblossom-tests-"))
    folder.chmod(0o711)
    return folder


def obtain(folder: Path, *, main_process: int, superuser_url: str | None, redis_url: str | None) -> TestServers:
    """The servers of the run, started and given their template database by whichever worker asks first.

    Blocks; call it outside the event loop.
    """
    with locked(folder / "lock"):
        ready = folder / "ready.json"
        if not ready.exists():
            if superuser_url is None or redis_url is None:
                started = _start_keeper(folder, main_process)
                superuser_url = superuser_url or started.superuser_url
                redis_url = redis_url or started.redis_url
            servers = TestServers(superuser_url, redis_url, template=f"smsblossom_{folder.name[-8:]}")
            _in_a_thread(_make_template, servers)
            ready.write_text(json.dumps(asdict(servers)), encoding="utf-8")
        return TestServers(**json.loads(ready.read_text(encoding="utf-8")))


def release(folder: Path) -> None:
    """Stop the keeper, wait until its servers are gone, and delete everything of the run."""
    ready = folder / "ready.json"
    if ready.exists():
        _in_a_thread(_drop_template, TestServers(**json.loads(ready.read_text(encoding="utf-8"))))
    keeper = folder / "keeper.pid"
    if keeper.exists():
        with suppress(ProcessLookupError):
            os.kill(int(keeper.read_text(encoding="utf-8")), signal.SIGTERM)
        with locked(folder / "keeper.lock"):
            pass
    delete_home(folder / "home")
    shutil.rmtree(folder, ignore_errors=True)


def delete_home(home: Path) -> None:
    """Delete a home of embedded servers that have been stopped, also the part that lies in /var/tmp."""
    embedded.remove(home)
    shutil.rmtree(home, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _start_keeper(folder: Path, main_process: int) -> embedded.Servers:
    command = [sys.executable, __file__, str(folder), str(main_process)]
    with (folder / "keeper.log").open("ab") as log:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)
    deadline = time.monotonic() + START_WITHIN
    urls = folder / "urls.json"
    while not urls.exists():
        if time.monotonic() > deadline or (folder / "keeper.failed").exists():
            raise RuntimeError(
                f"the test servers did not start:\n{(folder / 'keeper.log').read_text(errors='replace')}"
            )
        time.sleep(_POLL)
    return embedded.Servers(**json.loads(urls.read_text(encoding="utf-8")))


def _in_a_thread(work: Callable[[TestServers], None], servers: TestServers) -> None:
    """`asyncio.run` must not touch the loop of the test session, which belongs to this thread."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work, servers).result()


# --- databases


def _make_template(servers: TestServers) -> None:
    from smsblossom.store import migrations

    asyncio.run(_with_server(servers, _add_roles_and_template))
    migrations.upgrade(with_role(servers.superuser_url, user=postgres.OWNER, database=servers.template))


async def _add_roles_and_template(connection: Any, servers: TestServers) -> None:
    await connection.execute(postgres.roles_sql())
    password = urlsplit(servers.superuser_url).password
    if password is not None:  # a server of somebody else's, which asks for one
        for role in (postgres.OWNER, postgres.APP):
            quoted = await connection.fetchval(
                "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)", role, password
            )
            await connection.execute(quoted)
    await connection.execute(f'CREATE DATABASE "{servers.template}" OWNER {postgres.OWNER}')


def _drop_template(servers: TestServers) -> None:
    async def drop(connection: Any, servers: TestServers) -> None:
        await connection.execute(f'DROP DATABASE IF EXISTS "{servers.template}" WITH (FORCE)')

    with suppress(OSError):
        asyncio.run(_with_server(servers, drop))


async def _with_server(servers: TestServers, work: Callable[[Any, TestServers], Awaitable[None]]) -> None:
    connection = await asyncpg.connect(servers.superuser_url)
    try:
        await work(connection, servers)
    finally:
        await connection.close()


async def clone(servers: TestServers, name: str) -> Database:
    """A new database, equal to the migrated template."""
    await _with_server(
        servers, _execute(f'CREATE DATABASE "{name}" TEMPLATE "{servers.template}" OWNER {postgres.OWNER}')
    )
    return Database(
        name=name,
        admin_url=with_role(servers.superuser_url, user=postgres.OWNER, database=name),
        app_url=with_role(servers.superuser_url, user=postgres.APP, database=name),
        superuser_url=with_role(servers.superuser_url, user=None, database=name),
    )


async def drop(servers: TestServers, database: Database) -> None:
    await _with_server(servers, _execute(f'DROP DATABASE "{database.name}" WITH (FORCE)'))


def _execute(sql: str) -> Callable[[Any, TestServers], Awaitable[None]]:
    async def work(connection: Any, _: TestServers) -> None:
        await connection.execute(sql)

    return work


# --- the keeper


async def _keep(folder: Path, main_process: int) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    try:
        async with embedded.run(folder / "home", say=print) as servers:
            part = folder / "urls.part"
            part.write_text(json.dumps(asdict(servers)), encoding="utf-8")
            part.rename(folder / "urls.json")
            while not stopping.is_set() and _alive(main_process):
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), 1.0)
    except embedded.EmbeddedError as exc:
        print(exc, flush=True)
        (folder / "keeper.failed").touch()
    if not _alive(main_process):
        delete_home(folder / "home")
        shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main(folder: Path, main_process: int) -> None:
    """Leave the worker that started us: only the main process's end matters."""
    if os.fork():
        return
    os.setsid()
    with locked(folder / "keeper.lock"):
        (folder / "keeper.pid").write_text(str(os.getpid()), encoding="utf-8")
        asyncio.run(_keep(folder, main_process))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
