"""The whole service as real processes, for tests that kill, freeze and flush: web, workers, fake Mitto, both servers.

`async with running(workers=3) as service:` starts everything in a folder of its own, on free ports, each process with
a log file there; afterwards no process and no file is left. When the body raises, the ends of the logs are printed.
"""

import asyncio
import base64
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from redis.asyncio import Redis

import smsblossom
from smsblossom import settings as settings_module
from smsblossom.bootstrap import open_runtime
from smsblossom.embedded import binaries, places, postgres, processes, redis_server
from smsblossom.embedded.processes import Program
from smsblossom.sandbox.mitto_ledger import Text, read_ledger_file
from smsblossom.store import migrations
from smsblossom.usecases import manage
from tests.support import servers as support

SHOP = "chaos.myshopify.com"
SECRET = "shpss_chaos_0123456789abcdef"
TOKEN = "chaos-token-0123456789"
KEY = base64.b64encode(b"chaos-chaos-chaos-chaos-chaos-32").decode()
READY_WITHIN_S = 60.0
_SOURCES = str(Path(smsblossom.__file__).parents[1])  # the children run what this process imports
_POLL_S = 0.02
_LOG_LINES = 15
_LINE = 500

# PR_SET_PDEATHSIG: a killed test run leaves nothing behind (Linux; elsewhere an ordinary end stops the processes).
_TIED = "import ctypes, sys\nif sys.platform == 'linux': ctypes.CDLL(None).prctl(1, 9)\n"
_CLI = f"{_TIED}from smsblossom.cli import main\nmain()"
_MITTO = f"{_TIED}from smsblossom.sandbox.mitto import main\nmain()"


class Process:
    """One process of ours that can be ended and started again; its output is appended to one log file."""

    def __init__(
        self, name: str, code: str, arguments: Sequence[str], *, environ: Mapping[str, str], folder: Path, ready: str
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = (sys.executable, "-c", code, *arguments)
        self._environ = environ
        self._folder = folder
        self._ready = ready
        self._process: asyncio.subprocess.Process | None = None
        self.starts = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> str:
        """Start it and return the log line in which it says that it is ready.

        Raises:
            RuntimeError: it ended instead, or said nothing for READY_WITHIN_S.

        """
        self.starts += 1
        with self.log.open("ab") as output:
            before = output.tell()
            self._process = await asyncio.create_subprocess_exec(
                *self._command, cwd=self._folder, env=dict(self._environ), stdin=asyncio.subprocess.DEVNULL,
                stdout=output, stderr=output,
            )  # fmt: skip
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                while self.is_running:
                    line = self._line_with(self._ready, before)
                    if line is not None:
                        return line
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            await self.kill()
        raise RuntimeError(f"{self.name} did not become ready:\n{self.tail()}")

    async def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        await self._end(signal.SIGKILL)

    async def stop(self, patience_s: float = 30.0) -> None:
        """SIGTERM, as a deployment would; `kill -9` when that does not help."""
        try:
            async with asyncio.timeout(patience_s):
                await self._end(signal.SIGTERM)
        except TimeoutError:
            await self.kill()

    def freeze(self) -> None:
        """SIGSTOP: it lives, holds its connections and does nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def tail(self, lines: int = _LOG_LINES) -> str:
        if not self.log.exists():
            return ""
        last = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        return "\n".join(line[:_LINE] for line in last)

    async def _end(self, number: signal.Signals) -> None:
        self._signal(number)
        if self._process is not None:
            await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.is_running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _line_with(self, word: str, offset: int) -> str | None:
        with self.log.open("rb") as log:
            log.seek(offset)
            for line in log:
                if word.encode() in line and line.endswith(b"\n"):
                    return line.decode(errors="replace").strip()
        return None


class Server:
    """PostgreSQL or Redis, which nobody restarts behind our back."""

    def __init__(self, program: Program, say: Callable[[str], None]) -> None:
        self._program = program
        self._server = processes.Server(program, say)

    async def start(self) -> None:
        """Start it and wait until it answers, crash recovery included."""
        await self._server.start()

    async def stop_at_once(self) -> None:
        """PostgreSQL: what `pg_ctl stop -m immediate` does. Redis: `kill -9`."""
        await self._server.stop()

    def freeze(self) -> None:
        """Stop it and its children where they stand: connections stay open, nothing answers (Linux)."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        pid = int(self._program.pid_file.read_text(encoding="ascii"))
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        for each in (pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(each, number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Everything that runs, and how to reach it. `superuser_url` is the third party's way in: no row is hidden."""

    folder: Path
    postgres: Server
    redis: Server
    mitto: Process
    mitto_url: str
    web: Process
    workers: list[Process]
    environ: Mapping[str, str]
    superuser_url: str
    ledger_file: Path
    said: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.environ["APP_URL"]

    @property
    def webhook_url(self) -> str:
        return f"{self.url}/webhooks/shopify"

    def ledger(self) -> list[Text]:
        """The texts that the fake Mitto accepted, from its own file."""
        return list(read_ledger_file(self.ledger_file))

    async def turn(self, **knobs: Any) -> None:
        """Turn the fake Mitto's knobs."""
        async with aiohttp.ClientSession() as session, session.post(f"{self.mitto_url}/control", json=knobs) as answer:
            answer.raise_for_status()

    async def reports_waiting(self) -> int:
        """How many delivery reports and inbound texts the fake Mitto has still to post."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.mitto_url}/health") as answer:
            return int((await answer.json())["reports_waiting"])

    async def flush_redis(self) -> None:
        """FLUSHALL: every job, lease and wake-up is gone."""
        async with Redis.from_url(self.environ["REDIS_URL"]) as client:
            await client.flushall()

    @asynccontextmanager
    async def third_party(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """A superuser's own connection, past the service and past row-level security."""
        connection = await asyncpg.connect(self.superuser_url)
        try:
            yield connection
        finally:
            await connection.close()

    def logs(self) -> str:
        """The ends of all logs, for a person who looks into a failure."""
        everybody = [self.web, *self.workers, self.mitto]
        return "\n".join(f"--- {process.name} ({process.starts} starts)\n{process.tail()}" for process in everybody)


@asynccontextmanager
async def running(
    *, workers: int = 0, settings: Mapping[str, str] | None = None, knobs: str = "{}"
) -> AsyncIterator[Service]:
    """The service with one shop (SHOP, its webhooks signed with SECRET), on its own servers.

    `settings` are further environment variables, `knobs` a JSON object for the fake Mitto.
    """
    folder = support.make_run_folder()
    try:
        async with AsyncExitStack() as stack:
            service = await _start(stack, folder, workers, settings or {}, knobs)
            try:
                yield service
            except BaseException:
                print(service.logs())
                raise
    finally:
        support.delete_home(folder / "home")
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _start(stack: AsyncExitStack, folder: Path, workers: int, settings: Mapping[str, str], knobs: str) -> Service:
    said: list[str] = []
    here = stack.enter_context(places.occupied(folder / "home", said.append))
    found = await asyncio.to_thread(binaries.find, here.account, here.binaries)
    await postgres.make_cluster(found, here, said.append)
    # The first signal is the one that `stop_at_once` sends.
    database = Server(replace(postgres.program(found, here), stop=((signal.SIGQUIT, 30.0),)), said.append)
    broker = Server(replace(redis_server.program(found, here), stop=((signal.SIGKILL, 30.0),)), said.append)
    for server in (database, broker):
        stack.push_async_callback(server.stop_at_once)
        await server.start()
    await postgres.make_database(here)
    await asyncio.to_thread(migrations.upgrade, postgres.url(here, postgres.OWNER))
    environ = _environ(here, settings)
    mitto = await _start_mitto(stack, folder, environ, knobs)
    mitto_url = mitto.log.read_text(encoding="utf-8").split()[-1]
    environ = {**environ, "MITTO_BASE_URL": mitto_url}
    await _add_shop(environ)
    web = Process("web", _CLI, ["serve"], environ=environ, folder=folder, ready='"serve.ready"')
    crew = [
        Process(f"worker-{number}", _CLI, ["worker"], environ=environ, folder=folder, ready='"worker.ready"')
        for number in range(workers)
    ]
    stack.push_async_callback(_kill_all, [web, *crew])
    await asyncio.gather(web.start(), *(worker.start() for worker in crew))
    return Service(
        folder=folder,
        postgres=database,
        redis=broker,
        mitto=mitto,
        mitto_url=mitto_url,
        web=web,
        workers=crew,
        environ=environ,
        superuser_url=postgres.url(here, postgres.SUPERUSER),
        ledger_file=folder / "ledger.jsonl",
        said=said,
    )


def _environ(here: places.Places, settings: Mapping[str, str]) -> dict[str, str]:
    port = _free_port()
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": _SOURCES,
        "DATABASE_URL": postgres.url(here, postgres.APP),
        "REDIS_URL": redis_server.url(here),
        "APP_URL": f"http://127.0.0.1:{port}",
        "PORT": str(port),
        "SHOPIFY_API_SECRET": SECRET,
        "MITTO_BASE_URL": "http://127.0.0.1:9",
        "MITTO_CALLBACK_TOKEN": TOKEN,
        "MITTO_READ_TIMEOUT": "3",
        "ENCRYPTION_KEYS": f"1:{KEY}",
        "BLIND_INDEX_KEY": KEY,
        "API_TOKEN": TOKEN,
        "SMSBLOSSOM_SANDBOX": "1",
        **settings,
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _start_mitto(stack: AsyncExitStack, folder: Path, environ: Mapping[str, str], knobs: str) -> Process:
    base = f"{environ['APP_URL']}/webhooks/mitto/{TOKEN}"
    mitto = Process(
        "mitto",
        _MITTO,
        [
            *("--dlr-url", f"{base}/dlr", "--inbound-url", f"{base}/inbound"),
            *("--ledger-file", str(folder / "ledger.jsonl"), "--control", knobs),
        ],
        environ={name: environ[name] for name in ("PATH", "PYTHONPATH")},
        folder=folder,
        ready="listening on",
    )
    stack.push_async_callback(mitto.kill)
    await mitto.start()
    return mitto


async def _add_shop(environ: Mapping[str, str]) -> None:
    shop = manage.NewShop(domain=SHOP, timezone="America/New_York", country="US", sender="Blossom", name="Chaos")
    async with open_runtime(settings_module.load(environ)) as runtime:
        await manage.add_shop(runtime, shop, actor="test")


async def _kill_all(everybody: Sequence[Process]) -> None:
    await asyncio.gather(*(process.kill() for process in everybody))
