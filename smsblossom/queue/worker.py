"""Run the queues of one process: their workers, one lease thread, one ear for wake-ups, and the undertaker."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import redis

from smsblossom.jobs import QueueName
from smsblossom.queue import codec, connection, keys
from smsblossom.queue.calls import call_script, run_script
from smsblossom.queue.control import Control
from smsblossom.queue.dead_letters import DeadLetters
from smsblossom.queue.engine import SURVIVABLE, EngineOptions, Worker, new_worker_id
from smsblossom.queue.events import Events, LogEvents
from smsblossom.queue.leases import LeaseKeeper
from smsblossom.queue.link import Link
from smsblossom.queue.outcomes import ChildFailed
from smsblossom.queue.registry import Registry
from smsblossom.queue.topology import TOPOLOGY, Topology
from smsblossom.queue.typed import TypedConduct, TypedWorker
from smsblossom.queue.undertaker import Undertaker

R = TypeVar("R")
_LOOP_LIMIT_S = 10.0
_LOOK_AFTER_EVERY_S = 5.0
_KEEP_STOPPED_MS = 7 * 86_400_000

__all__ = ["TypedWorker", "Worker", "WorkerGroup", "run_worker"]


class WorkerGroup:
    """The workers of one process. `run()` works until `drain()` or `halt()`; both may be called from a signal handler.

    `drain()` stops claiming, lets what runs finish for up to `shutdown_in`, gives the rest back and ends `run()`.
    `halt()` ends it at once: what runs is cancelled and given back; what cannot be given back any more is taken over
    by others when its lease runs out.
    """

    def __init__(
        self,
        context: object,
        queues: Sequence[QueueName],
        *,
        redis_url: str,
        registry: Registry,
        topology: Topology = TOPOLOGY,
        dead_letters: DeadLetters | None = None,
        events: Events | None = None,
        shutdown_in: timedelta = timedelta(seconds=25),
        lease_in: timedelta = timedelta(seconds=8),
        worker_id: str | None = None,
        stall_limit: int = 10,
        unknown_in: timedelta = timedelta(minutes=15),
        unknown_wait_in: timedelta = timedelta(seconds=5),
        poll_in: timedelta = timedelta(milliseconds=500),
    ) -> None:
        self.worker_id = worker_id or new_worker_id()
        self.events = events or LogEvents()
        self._shutdown_in = shutdown_in
        self._is_stopping = asyncio.Event()
        self._is_halting = asyncio.Event()
        self._redis = connection.open_redis(redis_url, connection.WORKER_PATIENCE)
        self._link = Link(redis_url, connect_s=1.0, answer_s=15.0)
        self._keeper = LeaseKeeper(
            lambda: connection.open_blocking_redis(redis_url, answer_s=lease_in.total_seconds() / 4),
            lease_s=lease_in.total_seconds(),
        )
        build = partial(
            self._worker,
            context,
            registry=registry,
            topology=topology,
            lease_in=lease_in,
            poll_in=poll_in,
            stall_limit=stall_limit,
            unknown_in=unknown_in,
            unknown_wait_in=unknown_wait_in,
        )
        self.workers: list[TypedWorker] = [build(queue) for queue in queues]
        self._undertaker = Undertaker(self._redis, queues, dead_letters) if dead_letters is not None else None

    def _worker(
        self,
        context: object,
        queue: QueueName,
        *,
        registry: Registry,
        topology: Topology,
        lease_in: timedelta,
        poll_in: timedelta,
        **limits: Any,
    ) -> TypedWorker:
        plan = topology[queue]
        conduct = TypedConduct(
            context, queue, registry=registry, plan=plan, events=self.events, caller=self._link, **limits
        )
        options = EngineOptions(
            plan=plan,
            worker_id=self.worker_id,
            lease_in=lease_in,
            keeper=self._keeper,
            caller=self._link,
            beat=self._beat,
        )
        return TypedWorker(
            queue, conduct, registry=registry, plan=plan, redis_pool=self._redis, poll_in=poll_in, options=options
        )

    async def run(self) -> None:
        """Work until told to stop. Redis may come and go meanwhile, also before the first claim."""
        helpers = [asyncio.create_task(self._listen()), asyncio.create_task(self._look_after())]
        if self._undertaker is not None:
            helpers.append(asyncio.create_task(self._undertaker.run()))
        mains = [asyncio.create_task(worker.main()) for worker in self.workers]
        try:
            await self._wait_for_stop(mains)
            await self._let_finish()
        finally:
            await _end([*helpers, *mains])
            await self._close()

    def drain(self) -> None:
        """Stop claiming and finish what runs."""
        for worker in self.workers:
            worker.allow_pick_jobs = False
        self._is_stopping.set()

    def halt(self) -> None:
        """Stop now."""
        self.drain()
        self._is_halting.set()

    async def _wait_for_stop(self, mains: Sequence[asyncio.Task[None]]) -> None:
        stopping = asyncio.create_task(self._is_stopping.wait())
        done, _ = await asyncio.wait([stopping, *mains], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for task in done - {stopping}:
            task.result()

    async def _let_finish(self) -> None:
        halting = asyncio.create_task(self._is_halting.wait())
        until = asyncio.get_running_loop().time() + self._shutdown_in.total_seconds()
        while tasks := [task for worker in self.workers for task in worker.tasks.values()]:
            left = until - asyncio.get_running_loop().time()
            if left <= 0 or halting.done():
                break
            await asyncio.wait([halting, *tasks], timeout=left, return_when=asyncio.FIRST_COMPLETED)
        halting.cancel()

    async def _close(self) -> None:
        limit = 1.0 if self._is_halting.is_set() else 5.0
        await asyncio.gather(*(worker.give_back(limit) for worker in self.workers))
        with contextlib.suppress(*SURVIVABLE):
            async with asyncio.timeout(limit):
                for worker in self.workers:
                    await run_script(self._redis, "beat", [worker.queue_name], [self.worker_id, "leave"])
        await asyncio.to_thread(self._keeper.close)
        await self._link.aclose()
        await self._redis.aclose(close_connection_pool=True)

    def _beat(self, worker: Worker, client: redis.Redis) -> None:
        """Called in the lease thread. A worker whose loop stands still keeps its leases and loses its good name."""
        if time.monotonic() - worker.ticked_at < _LOOP_LIMIT_S:
            call_script(client, "beat", worker.queue_name, [self.worker_id, ""])

    async def _look_after(self) -> None:
        """Every few seconds: tell the lag, and mend what a stock worker or a flush left askew."""
        control = Control(self._redis)
        gone = codec.encode(codec.failure_of(ChildFailed("a child of this job is gone")))
        while True:
            for worker in self.workers:
                queue = worker.queue
                with contextlib.suppress(connection.QueueUnavailable, *SURVIVABLE):
                    stats = await control.stats(queue)
                    worker.typed.lag(stats.oldest, stats.waiting)
                    await run_script(self._redis, "sweep", [queue.value], [_KEEP_STOPPED_MS, gone])
            await asyncio.sleep(_LOOK_AFTER_EVERY_S * random.uniform(0.8, 1.2))

    async def _listen(self) -> None:
        """Wake the workers when something is added. When this fails, their poll is the safety net."""
        by_channel = {keys.wake(worker.queue_name).encode(): worker for worker in self.workers}
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(*by_channel)
                    for worker in self.workers:
                        worker.wake()
                    async for message in pubsub.listen():
                        by_channel[message["channel"]].wake()
            except SURVIVABLE:
                await asyncio.sleep(0.2)


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def run_worker(
    context: R,
    queues: Sequence[QueueName],
    *,
    redis_url: str,
    registry: Registry,
    stop: asyncio.Event,
    topology: Topology = TOPOLOGY,
    dead_letters: DeadLetters | None = None,
    events: Events | None = None,
    halt: asyncio.Event | None = None,
    **options: Any,
) -> None:
    """Work the queues until `stop` is set, then drain; at `halt` end at once. `options` as in `WorkerGroup`."""
    group = WorkerGroup(
        context,
        queues,
        redis_url=redis_url,
        registry=registry,
        topology=topology,
        dead_letters=dead_letters,
        events=events,
        **options,
    )
    watchers = [asyncio.create_task(_call_when(stop, group.drain))]
    if halt is not None:
        watchers.append(asyncio.create_task(_call_when(halt, group.halt)))
    try:
        await group.run()
    finally:
        await _end(watchers)


async def _call_when(event: asyncio.Event, action: Callable[[], None]) -> None:
    await event.wait()
    action()
