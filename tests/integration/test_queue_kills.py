"""Workers are killed, Redis is restarted and paused, and every job still takes effect; hardly any takes it twice."""

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from smsblossom.jobs import Priority
from smsblossom.queue.client import Add, QueueClient, open_client
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.queue.control import Control
from tests.support import effects as effects_script
from tests.support.queues import EVENTS, RedisServer, make_job, own_redis, until

TOPICS = ["plain"] * 8 + ["slow", "flaky"]


@dataclass
class Fleet:
    """Worker processes, and who held what when it was killed."""

    server: RedisServer
    file: Path
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    held: int = 0
    kills: int = 0

    async def start(self) -> None:
        worker_id = f"w{uuid4().hex[:8]}"
        self.processes[worker_id] = await asyncio.create_subprocess_exec(
            sys.executable, effects_script.__file__, self.server.url, str(self.file), worker_id,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},  # noqa: TID251
        )  # fmt: skip

    async def kill_one(self, dice: random.Random) -> None:
        """Stop it, ask Redis what it holds, kill it, and start another in its place."""
        worker_id = dice.choice(sorted(self.processes))
        process = self.processes.pop(worker_id)
        process.send_signal(signal.SIGSTOP)
        self.held += self._held_by(worker_id)
        process.kill()
        await process.wait()
        self.kills += 1
        await self.start()

    def _held_by(self, worker_id: str) -> int:
        with redis.Redis.from_url(self.server.url, socket_timeout=10) as client:
            owners = client.hvals("events:active")
        return sum(owner.startswith(f"{worker_id}:".encode()) for owner in owners)

    async def stop(self) -> None:
        for process in self.processes.values():
            if process.returncode is None:
                process.kill()
                await process.wait()

    def runs(self) -> Counter[str]:
        return Counter(self.file.read_text().split()) if self.file.exists() else Counter()


async def add_all(client: QueueClient, count: int, dice: random.Random) -> None:
    """Mixed delays, priorities, retries and groups; whoever finds Redis away tries again with the same ids."""
    for first in range(0, count, 200):
        adds = [
            Add(
                job=make_job(dice.choice(TOPICS)),
                job_id=f"j{index}",
                priority=dice.choice(list(Priority)),
                delay_in=timedelta(milliseconds=dice.randrange(3000)) if dice.random() < 0.2 else None,
                group=f"shop:{dice.randrange(20)}" if dice.random() < 0.3 else None,
            )
            for index in range(first, min(first + 200, count))
        ]
        while True:
            try:
                await client.add_many(adds)
            except QueueUnavailable:
                await asyncio.sleep(0.1)
            else:
                break


async def prove(folder: Path, *, count: int, kills: int, pause_at: int, restarts_at: set[int], within_s: float) -> None:
    seed = random.SystemRandom().randrange(10**6)
    dice = random.Random(seed)
    with own_redis(folder) as server:
        fleet = Fleet(server, folder / "effects")
        started = time.monotonic()
        try:
            for _ in range(3):
                await fleet.start()
            async with open_client(server.url) as client:
                adding = asyncio.create_task(add_all(client, count, dice))
                for second in range(kills):
                    await asyncio.sleep(1)
                    if second in restarts_at:
                        server.kill()
                        server.start()
                    if second == pause_at:
                        server.pause()
                        await asyncio.sleep(5)
                        server.unpause()
                    await fleet.kill_one(dice)
                await adding
                await until(lambda: len(fleet.runs()) == count, within=within_s)
                await until(lambda: _is_empty(client), within=60)
        finally:
            await fleet.stop()
        runs = fleet.runs()
        twice = sum(runs.values()) - len(runs)
        print(
            f"seed {seed}: {count} jobs, {fleet.kills} kills, {len(restarts_at)} restarts, one pause of 5 s, "
            f"{time.monotonic() - started:.0f} s; missing {count - len(runs)}, "
            f"run twice {twice}, held by killed workers {fleet.held}"
        )
        assert set(runs) == {f"j{index}" for index in range(count)}
        assert twice <= fleet.held


async def _is_empty(client: QueueClient) -> bool:
    stats = await Control(client.redis).stats(EVENTS)
    return stats.waiting + stats.active + stats.delayed + stats.failed + stats.dead == 0


async def test_no_job_is_lost_to_kills_restarts_and_a_pause(tmp_path: Path):
    await prove(tmp_path, count=6_000, kills=8, pause_at=5, restarts_at={2}, within_s=120)


@pytest.mark.proof
@pytest.mark.timeout(900)
async def test_a_hundred_thousand_jobs_survive_it(tmp_path: Path):
    await prove(tmp_path, count=100_000, kills=60, pause_at=20, restarts_at={10, 30}, within_s=500)


async def test_jobs_of_a_killed_worker_run_again_within_ten_seconds(tmp_path: Path):
    with own_redis(tmp_path) as server:
        fleet = Fleet(server, tmp_path / "effects")
        try:
            async with open_client(server.url) as client:
                await fleet.start()
                await client.add_many([Add(job=make_job("slow"), job_id=f"j{i}") for i in range(2_000)])
                await until(lambda: len(fleet.runs()) > 50)
                victim, process = next(iter(fleet.processes.items()))
                process.send_signal(signal.SIGSTOP)
                held = [
                    job_id.decode()
                    for job_id, owner in (await client.redis.hgetall("events:active")).items()
                    if owner.startswith(f"{victim}:".encode())
                ]
                process.kill()
                killed = time.monotonic()
                await fleet.start()
                await until(lambda: all(fleet.runs()[job_id] for job_id in held), within=30)
                took = time.monotonic() - killed
                print(f"{len(held)} jobs of a killed worker had run again after {took:.1f} s")
                assert held
                assert took < 15, "8 s of lease, and a loaded machine"
        finally:
            await fleet.stop()
