"""Everything of a local run in one context: servers, tables, fake Mitto, web process, worker."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import aiohttp

from smsblossom import embedded, settings
from smsblossom.cli import children, local
from smsblossom.cli.children import Child, Program, Say
from smsblossom.cli.local import Addresses
from smsblossom.embedded.processes import news
from smsblossom.settings import LOCAL_HOME, SettingError
from smsblossom.store import migrations
from smsblossom.usecases.manage import Refused

LEDGER: Final = "mitto-ledger.jsonl"
_READY_WITHIN_S: Final = 60.0
_POLL_S: Final = 0.05
_ANSWER_WITHIN: Final = aiohttp.ClientTimeout(total=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a local run is to be like."""

    home: Path = LOCAL_HOME
    given: Mapping[str, str] = field(repr=False)
    """The environment."""
    host: str
    port: int
    extra: Mapping[str, str]
    """Settings that go before the environment's."""
    mitto_knobs: str = "{}"
    logs: Path | None = None
    """A folder for the children's logs; None: they write to this terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A local run that answers."""

    environment: Mapping[str, str] = field(repr=False)
    """All settings; `settings.load` reads them."""
    url: str
    mitto_url: str | None
    ledger_file: Path
    children: tuple[Child, ...]


@asynccontextmanager
async def running(wish: Wish, say: Say) -> AsyncIterator[Stack]:
    """Start everything, in order; yield when it all answers; stop it in reverse and leave no process.

    Raises:
        Refused: the port is taken.
        EmbeddedError: a part will not start, or another run has the folder.

    """
    wish = replace(wish, port=_port(wish))
    async with AsyncExitStack() as stack:
        servers = await _servers(wish, stack, say)
        mitto_url = None if wish.given.get("MITTO_API_KEY") else f"http://127.0.0.1:{_free_port()}"
        at = replace(servers, host=wish.host, port=wish.port, mitto_url=mitto_url)
        decided = local.settings_of(wish.given, settings.read_local(wish.home), at)
        environment = {**wish.given, **wish.extra, **decided}
        loaded = settings.load(environment)
        settings.write_local(wish.home, decided)
        await _migrate(at, say)
        started = [
            await stack.enter_async_context(children.started(program, say))
            for program in _programs(wish, environment, mitto_url, loaded.callback_base)
        ]
        url = local.local_url(wish.host, wish.port)
        await _ready(url, mitto_url, started, say)
        await stack.enter_async_context(children.watched(tuple(started)))
        yield Stack(
            environment=environment,
            url=url,
            mitto_url=mitto_url,
            ledger_file=wish.home / LEDGER,
            children=tuple(started),
        )


async def _servers(wish: Wish, stack: AsyncExitStack, say: Say) -> Addresses:
    """The embedded servers, or the two that the environment names."""
    database, redis = wish.given.get("DATABASE_URL"), wish.given.get("REDIS_URL")
    if database and redis:
        say("Using the servers of DATABASE_URL and REDIS_URL.")
        return Addresses(database, wish.given.get("DATABASE_ADMIN_URL"), redis, wish.host, wish.port, None)
    if database or redis:
        say("DATABASE_URL and REDIS_URL are not both used here: this run has PostgreSQL and Redis of its own.")
    found = await stack.enter_async_context(embedded.run(wish.home, say=say))
    return Addresses(found.app_url, found.admin_url, found.redis_url, wish.host, wish.port, None)


async def _migrate(at: Addresses, say: Say) -> None:
    if at.database_admin_url is None:
        say("DATABASE_ADMIN_URL is not set: the tables are taken as they are (smsblossom migrate makes them).")
        return
    async with news(say, "Bringing the database to this release's tables ..."):
        await asyncio.to_thread(migrations.upgrade, at.database_admin_url)


def _programs(
    wish: Wish, environment: Mapping[str, str], mitto_url: str | None, callback_base: str
) -> Sequence[Program]:
    """In the order of starting; they are stopped in reverse: first nothing comes in, last nothing goes out."""

    def program(name: str, module: str, *arguments: str) -> Program:
        log = wish.logs / f"{name.replace(' ', '-')}.log" if wish.logs else None
        return Program(f"the {name}", module, arguments, environment, log)

    service = [
        program("worker", "smsblossom", "worker"),
        program("web process", "smsblossom", "serve", "--host", wish.host, "--port", str(wish.port)),
    ]
    if mitto_url is None:
        return service
    books = ("--port", mitto_url.rpartition(":")[2], "--ledger-file", str(wish.home / LEDGER))
    calls = ("--dlr-url", f"{callback_base}/dlr", "--inbound-url", f"{callback_base}/inbound")
    fake = program("fake Mitto", "smsblossom.sandbox.mitto", *books, *calls, "--control", wish.mitto_knobs)
    return [fake, *service]


async def _ready(url: str, mitto_url: str | None, started: Sequence[Child], say: Say) -> None:
    """Return when every part answers; raise when one ends before it does."""
    failures = [asyncio.create_task(child.failure()) for child in started]
    answers = asyncio.create_task(_answers([f"{url}/queue/health", *([f"{mitto_url}/health"] if mitto_url else [])]))
    try:
        async with news(say, "Starting the web process and the worker ..."):
            done, _ = await asyncio.wait(
                [*failures, answers], timeout=_READY_WITHIN_S, return_when=asyncio.FIRST_COMPLETED
            )
        for failure in failures:
            if failure in done:
                raise failure.result()
        if answers not in done:
            raise embedded.EmbeddedError(f"nothing answers at {url} after {_READY_WITHIN_S:.0f} s")
    finally:
        for task in (*failures, answers):
            task.cancel()
        await asyncio.wait([*failures, answers])


async def _answers(urls: Sequence[str]) -> None:
    async with aiohttp.ClientSession(timeout=_ANSWER_WITHIN) as client:
        for url in urls:
            while not await _is_ok(client, url):  # noqa: ASYNC110  another process: it cannot tell us
                await asyncio.sleep(_POLL_S)


async def _is_ok(client: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with client.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def _port(wish: Wish) -> int:
    """The port to listen on, known to be free a moment ago; a free one for 0."""
    if embedded.addresses(wish.home) is not None:
        folder = wish.home.absolute().parent
        raise embedded.EmbeddedError(
            f"smsblossom up or demo already runs in {folder}; stop it first, or use another folder"
        )
    with socket.socket(socket.AF_INET6 if ":" in wish.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((wish.host, wish.port))
        except PermissionError:
            raise Refused(f"port: {wish.port} needs root; choose another, for example --port 8081") from None
        except OSError:
            raise Refused(
                f"port: {wish.port} on {wish.host} is in use; choose another, such as --port {wish.port % 65535 + 1}"
            ) from None
        return int(probe.getsockname()[1])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wished_port(given: Mapping[str, str], port: int | None) -> int:
    """The port of the option, of PORT, or 8080.

    Raises:
        SettingError: PORT is no port.

    """
    text = str(port) if port is not None else given.get("PORT", "").strip() or "8080"
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise SettingError("PORT", f"is {text!r}, not a whole number from 0 to 65535", "8080")
    return int(text)
