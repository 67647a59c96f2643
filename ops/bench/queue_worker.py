"""One measured process of the queue bench: a worker that runs trivial jobs, or a client that adds them.

python queue_worker.py ROLE SYSTEM REDIS_PORT CONCURRENCY JOBS: prints one line of JSON. Roles: fill, work, enqueue,
lone, hold. Systems: ours, ours_full, arq, saq. The parent (queue.py) gives every system the same Redis.
"""

import asyncio
import json
import logging
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import uvloop

SHOP = UUID("7f2c1d54-0000-5000-8000-000000000000")
QUEUE = "events"


class Tally:
    """Counts jobs and takes the times that matter."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.count = 0
        self.first = 0.0
        self.last = 0.0
        self.done = asyncio.Event()
        self.waits: list[float] = []

    def one(self) -> None:
        self.count += 1
        if self.count == 1:
            self.first = time.perf_counter()
        if self.count == self.jobs:
            self.last = time.perf_counter()
            self.done.set()


def report(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rss_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def measured(tally: Tally, run: Callable[[], Awaitable[None]], stop: Callable[[], None]) -> None:
    """Run a worker until the tally is full. CPU counts from the start of the worker, the clock from the first job."""
    before = cpu_s()
    worker = asyncio.ensure_future(run())
    await tally.done.wait()
    used = cpu_s() - before
    report(jobs_per_s=tally.jobs / (tally.last - tally.first), cpu_us=used / tally.jobs * 1e6, rss_mb=rss_mb())
    stop()
    await asyncio.wait([worker], timeout=5)


# ---------------------------------------------------------------------- ours


def make_job(index: int) -> Any:
    from smsblossom import jobs

    return jobs.ProcessEvent(
        shop_id=SHOP, request_id=f"r{index}", created_at=datetime.now(UTC), event_id=SHOP, topic="orders/create"
    )


class Silence:
    """No listener: what the bare engine costs."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_args, **_facts: None


def everything() -> Any:
    """The service's own listener: metrics, and a line of JSON for each start and each end, as in production."""
    from smsblossom import telemetry
    from smsblossom.usecases.telling import MeasuredEvents

    telemetry.configure_logging("info", "json")
    return MeasuredEvents(telemetry.Metrics())


class Letters:
    async def add(self, letters: Any) -> None: ...


def our_worker(port: int, concurrency: int, *, full: bool, body: Callable[[Any], Awaitable[None]]) -> Any:
    from smsblossom import jobs
    from smsblossom.queue.registry import Registry
    from smsblossom.queue.topology import TOPOLOGY, GroupLimit, Rate, with_overrides
    from smsblossom.queue.worker import WorkerGroup

    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, job: jobs.ProcessEvent) -> None:
        await body(job)

    plan: dict[str, Any] = {"concurrency": concurrency}
    if full:
        plan["rate"] = Rate(1_000_000)
        plan["groups"] = {"shop": GroupLimit(rate=Rate(1_000_000))}
    else:
        plan["keep_result_in"] = timedelta(0)
    return WorkerGroup(
        None,
        [jobs.QueueName.EVENTS],
        redis_url=f"redis://127.0.0.1:{port}/0",
        registry=registry,
        topology=with_overrides(TOPOLOGY, {jobs.QueueName.EVENTS: plan}),
        dead_letters=Letters() if full else None,
        events=everything() if full else Silence(),  # type: ignore[arg-type]
    )


async def ours(role: str, port: int, concurrency: int, count: int, *, full: bool = False) -> None:
    from smsblossom.queue.client import Add, open_client

    tally = Tally(count)

    async def body(job: Any) -> None:
        tally.one()
        if role == "lone":
            tally.waits.append((datetime.now(UTC) - job.created_at).total_seconds() * 1000)
        if role == "hold":
            await asyncio.sleep(2)

    url = f"redis://127.0.0.1:{port}/0"
    if role in {"work", "hold"}:
        group = our_worker(port, concurrency, full=full, body=body)
        await measured(tally, group.run, group.halt)
        return
    async with open_client(url) as client:
        if role == "fill":
            group_name = "shop:1" if full else None
            for first in range(0, count, 500):
                await client.add_many([Add(job=make_job(i), group=group_name) for i in range(first, first + 500)])
        elif role == "enqueue":
            await enqueue(lambda i: client.add(make_job(i)), count)
        else:
            group = our_worker(port, concurrency, full=full, body=body)
            worker = asyncio.ensure_future(group.run())
            await lone(lambda i: client.add(make_job(i)), tally)
            group.halt()
            await worker


async def enqueue(add: Callable[[int], Awaitable[object]], count: int) -> None:
    """One by one, then 50 at once."""
    await asyncio.gather(*(add(i) for i in range(50)))
    started = time.perf_counter()
    for i in range(count):
        await add(i)
    one_by_one = count / (time.perf_counter() - started)
    rounds = max(1, count // 25)
    started = time.perf_counter()
    for _ in range(rounds):
        await asyncio.gather(*(add(i) for i in range(50)))
    report(one_by_one=one_by_one, at_once=rounds * 50 / (time.perf_counter() - started))


async def lone(add: Callable[[int], Awaitable[object]], tally: Tally) -> None:
    await asyncio.sleep(0.5)
    for i in range(tally.jobs):
        await add(i)
        await asyncio.sleep(0.02)
    await tally.done.wait()
    waits = sorted(tally.waits)
    report(p50=waits[len(waits) // 2], p99=waits[int(len(waits) * 0.99)])


# ---------------------------------------------------------------------- stock arq


async def stock_arq(role: str, port: int, concurrency: int, count: int) -> None:
    from arq import create_pool, func
    from arq.connections import RedisSettings
    from arq.worker import Worker

    logging.disable(logging.CRITICAL)
    tally = Tally(count)
    settings = RedisSettings(host="127.0.0.1", port=port)

    async def process(_ctx: dict[Any, Any], *_args: Any) -> None:
        tally.one()

    if role == "work":
        worker = Worker(
            [func(process, name="events:process")],
            queue_name=QUEUE,
            redis_settings=settings,
            handle_signals=False,
            max_jobs=concurrency,
            poll_delay=0.01,
            keep_result=0,
            log_results=False,
        )
        await measured(tally, worker.main, lambda: None)
        return
    pool = await create_pool(settings, default_queue_name=QUEUE)
    fields = ("shop", "r1", "event", "orders/create")
    if role == "fill":
        for _ in range(0, count, 50):
            await asyncio.gather(*(pool.enqueue_job("events:process", *fields) for _ in range(50)))
    else:
        await enqueue(lambda _i: pool.enqueue_job("events:process", *fields), count)
    await pool.aclose()


# ---------------------------------------------------------------------- SAQ


async def saq(role: str, port: int, concurrency: int, count: int) -> None:
    from saq import Queue, Worker  # type: ignore[import-not-found]

    logging.disable(logging.CRITICAL)
    tally = Tally(count)

    async def process(_ctx: Any, **_fields: Any) -> None:
        tally.one()

    queue = Queue.from_url(f"redis://127.0.0.1:{port}/0", name="saq", max_concurrent_ops=100)
    await queue.connect()
    if role == "work":
        worker = Worker(queue, functions=[("process", process)], concurrency=concurrency, dequeue_timeout=1)
        await measured(tally, worker.start, lambda: None)
        return

    async def add(i: int) -> None:
        await queue.enqueue("process", key=f"{time.perf_counter_ns()}-{i}", shop="shop", topic="orders/create", ttl=-1)

    if role == "fill":
        for first in range(0, count, 50):
            await asyncio.gather(*(add(i) for i in range(first, first + 50)))
    else:
        await enqueue(add, count)


def main() -> None:
    role, system, port, concurrency, count = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    match system:
        case "ours":
            run = ours(role, port, concurrency, count)
        case "ours_full":
            run = ours(role, port, concurrency, count, full=True)
        case "arq":
            run = stock_arq(role, port, concurrency, count)
        case _:
            run = saq(role, port, concurrency, count)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run)
    sys.stdout.flush()
    # Stock workers have no way to be told to stop from within; the figures are out.
    import os

    os._exit(0)


if __name__ == "__main__":
    main()
