"""The way into the queues: typed jobs in, ids out, within a second or not at all."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import msgspec
import redis.asyncio
from arq.utils import timestamp_ms

from smsblossom.jobs import Job, Priority, QueueName
from smsblossom.queue import connection
from smsblossom.queue.adds import NORMAL_HEAD_MS, Add, arguments, new_job_id
from smsblossom.queue.calls import run_script
from smsblossom.queue.connection import within_a_second
from smsblossom.queue.jobinfo import JobInfo, job_info
from smsblossom.queue.link import Link
from smsblossom.queue.outbox import Outbox
from smsblossom.queue.topology import TOPOLOGY, Topology

__all__ = ["Add", "QueueClient", "open_client"]


class QueueClient:
    """Adds and looks up jobs. Calls made in the same turn of the event loop share a round trip.

    `redis` is for what is rare: control, health, metrics.
    """

    def __init__(self, link: Link, redis_client: redis.asyncio.Redis, *, topology: Topology = TOPOLOGY) -> None:
        self.redis = redis_client
        self._link = link
        self._outbox = Outbox(link)
        self._topology = topology

    async def add(
        self,
        job: Job,
        *,
        job_id: str | None = None,
        run_at: datetime | None = None,
        delay_in: timedelta | None = None,
        priority: Priority | None = None,
        group: str | None = None,
        expires_in: timedelta | None = None,
        dedupe_key: str | None = None,
        dedupe_in: timedelta | None = None,
    ) -> str:
        """Put a job on its queue and return its id.

        An id that is waiting, delayed or running already is left as it is; one that ended runs again. `group`
        (`shop:…`, `sender:…`) is what its limits count. A job not started `expires_in` after now never runs.
        `dedupe_key` makes the id from the key, or with `dedupe_in` returns the id that took the key less than
        that ago. Raises `JobTooLarge`, and `QueueUnavailable` within a second when Redis does not answer.
        """
        how = Add(
            job=job,
            job_id=job_id,
            run_at=run_at,
            delay_in=delay_in,
            priority=priority,
            group=group,
            expires_in=expires_in,
            dedupe_key=dedupe_key,
            dedupe_in=dedupe_in,
        )
        ids = await self._outbox.put(job.queue, [arguments(how, self._topology, timestamp_ms())])
        return ids[0]

    async def add_many(self, adds: Sequence[Add]) -> list[str]:
        """Add jobs of any queues in one round trip; the ids come in the order of the jobs. Raises as `add`.

        When it raises, some may have been added.
        """
        places: dict[QueueName, list[int]] = {}
        for place, how in enumerate(adds):
            places.setdefault(how.job.queue, []).append(place)
        ids = [""] * len(adds)
        replies = [self._put(queue, [adds[place] for place in taken]) for queue, taken in places.items()]
        for taken, answer in zip(places.values(), await asyncio.gather(*replies), strict=True):
            for place, job_id in zip(taken, answer, strict=True):
                ids[place] = job_id
        return ids

    async def add_flow(self, parent: Add, children: Sequence[Add]) -> str:
        """Add a parent that starts when all its children are completed, and the children. Returns the parent's id.

        A child that ends otherwise (dead, aborted, expired, removed) makes the parent dead. The id of a parent
        that is known already changes nothing, its children included. The parent's `expires_in` is not looked at.
        """
        parent_id = parent.job_id or new_job_id()
        queue = parent.job.queue
        named = [msgspec.structs.replace(child, job_id=child.job_id or new_job_id()) for child in children]
        now_ms = timestamp_ms()
        _, data, due, tag, _, _ = arguments(parent, self._topology, now_ms)
        due_ms = str(now_ms + int(due)) if due.startswith("+") else due
        async with within_a_second():
            is_new = await run_script(
                self._link,
                "flow",
                [queue],
                [NORMAL_HEAD_MS, parent_id, data, due_ms, tag, *(str(child.job_id) for child in named)],
            )
        if is_new:
            puts = [self._put(child.job.queue, [child], parent=(queue.value, parent_id)) for child in named]
            await asyncio.gather(*puts)
        return parent_id

    async def get_job(self, queue: str, job_id: str) -> JobInfo | None:
        """What is known of a job, or None once its result is no longer kept. Raises `QueueUnavailable`."""
        async with within_a_second():
            rows = await run_script(self._link, "inspect", [queue], [job_id])
        return job_info(queue, job_id, rows[0])

    async def ping(self) -> None:
        """Return when Redis answers; raise `QueueUnavailable` within a second when it does not."""
        async with within_a_second():
            await self._link.execute_command("PING")

    def _put(
        self, queue: QueueName, adds: Sequence[Add], *, parent: tuple[str, str] | None = None
    ) -> "asyncio.Future[list[str]]":
        now_ms = timestamp_ms()
        return self._outbox.put(queue, [arguments(how, self._topology, now_ms, parent) for how in adds])


@asynccontextmanager
async def open_client(redis_url: str, *, topology: Topology = TOPOLOGY) -> AsyncIterator[QueueClient]:
    """A client whose connections are made when first needed, so that Redis may be down at the start."""
    redis_client = connection.open_redis(redis_url, connection.CLIENT_PATIENCE)
    link = Link(redis_url, connect_s=0.4, answer_s=0.5)
    try:
        yield QueueClient(link, redis_client, topology=topology)
    finally:
        await link.aclose()
        await redis_client.aclose(close_connection_pool=True)
