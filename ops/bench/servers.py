"""The processes of a bench: embedded servers in a temporary folder, and the service's own processes on them."""

import asyncio
import base64
import os
import re
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
from redis.asyncio import Redis

from smsblossom import embedded
from smsblossom.embedded import Servers
from smsblossom.settings import environment

SECRET: Final = "shpss_of_the_bench"
START_WITHIN_S: Final = 30
PROMISES: Final = ("fsync", "synchronous_commit", "full_page_writes")
_ADDRESS: Final = re.compile(r"http://127\.0\.0\.1:(\d+)")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class BenchFailed(Exception):  # noqa: N818
    """A bench that would mislead; the message is one line for the reader."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a bench runs: its servers, its folder for logs, the environment of its processes."""

    servers: Servers
    folder: Path
    environ: dict[str, str]

    async def empty(self) -> None:
        """No webhook and no job, and PostgreSQL's caches written down: where each measurement begins."""
        connection = await asyncpg.connect(self.servers.superuser_url)
        try:
            await connection.execute("TRUNCATE webhook_events")
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()
        async with Redis.from_url(self.servers.redis_url) as redis:
            await redis.flushall()

    async def count(self, query: str) -> int:
        connection = await asyncpg.connect(self.servers.superuser_url)
        try:
            return int(await connection.fetchval(query))
        finally:
            await connection.close()

    async def queued(self, queue: str) -> int:
        async with Redis.from_url(self.servers.redis_url) as redis:
            return int(await redis.zcard(queue))


@dataclass(frozen=True, slots=True)
class Running:
    """One process of the service and where it listens."""

    pid: int
    port: int


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """Migrated servers of this bench alone; everything is gone afterwards.

    Raises:
        BenchFailed: a setting that makes an acknowledged webhook durable is not on.

    """
    with tempfile.TemporaryDirectory(prefix="smsblossom-bench-") as name:
        folder = Path(name)
        # Run by root, the servers run as another user: let that one in, or their files end up elsewhere and stay.
        await asyncio.to_thread(folder.chmod, 0o711)
        async with embedded.run(folder, say=print) as servers:
            made = Bench(servers, folder, _environ(servers))
            await output_of(made, *service("migrate"))
            await _refuse_unsafe_settings(servers)
            yield made


@asynccontextmanager
async def running(
    made: Bench, *command: str, name: str, ready: str = "http://127.0.0.1:", **extra: str
) -> AsyncIterator[Running]:
    """A command as a process, from the moment its log says `ready`: its address, or a word where it has none."""
    log = made.folder / f"{name}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, env={**made.environ, **extra}, stdout=output, stderr=output
        )
    try:
        yield Running(process.pid, await _port(process, log, ready))
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


async def output_of(made: Bench, *command: str) -> str:
    """Run a command to its end and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command, env=made.environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise BenchFailed(f"{' '.join(command[:4])} ended with {process.returncode}: {err.decode()[-2000:]}")
    return out.decode()


def service(*arguments: str) -> tuple[str, ...]:
    """A command of the service as it is installed beside this Python."""
    return (str(Path(sys.executable).with_name("smsblossom")), *arguments)


def module(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *arguments)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process; 0 where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:13])) / _TICKS


def _environ(servers: Servers) -> dict[str, str]:
    def key() -> str:
        return base64.b64encode(secrets.token_bytes(32)).decode()

    return {
        **environment(),
        "DATABASE_URL": servers.app_url,
        "DATABASE_ADMIN_URL": servers.admin_url,
        "REDIS_URL": servers.redis_url,
        "APP_URL": "http://127.0.0.1",
        "HOST": "127.0.0.1",
        "PORT": "0",
        "SHOPIFY_API_SECRET": SECRET,
        "MITTO_BASE_URL": "http://127.0.0.1:9",
        "MITTO_API_KEY": "of-the-bench",
        "MITTO_CALLBACK_TOKEN": secrets.token_urlsafe(24),
        "API_TOKEN": secrets.token_urlsafe(24),
        "ENCRYPTION_KEYS": f"1:{key()}",
        "BLIND_INDEX_KEY": key(),
        "LOG_LEVEL": "info",
        "LOG_FORMAT": "json",
        "SMSBLOSSOM_SANDBOX": "1",
    }


async def _refuse_unsafe_settings(servers: Servers) -> None:
    connection = await asyncpg.connect(servers.app_url)
    try:
        off = [name for name in PROMISES if await connection.fetchval(f"SHOW {name}") != "on"]
    finally:
        await connection.close()
    if off:
        raise BenchFailed(f"PostgreSQL runs with {', '.join(off)} not on: figures without durability mean nothing")


async def _port(process: asyncio.subprocess.Process, log: Path, ready: str) -> int:
    """The port in the log once the log says `ready`; 0 where it names none."""
    said = ""
    for _ in range(START_WITHIN_S * 50):
        said = await asyncio.to_thread(log.read_text, errors="replace")
        if ready in said:
            found = _ADDRESS.search(said)
            return int(found[1]) if found else 0
        if process.returncode is not None:
            raise BenchFailed(f"{log.stem} did not start: {said[-2000:]}")
        await asyncio.sleep(0.02)
    raise BenchFailed(f"{log.stem} did not start within {START_WITHIN_S} s: {said[-2000:]}")
