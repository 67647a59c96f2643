"""The way into the queues: typed jobs in, ids out, within a second or not at all."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
import redis.asyncio
import uuid_utils
from arq.utils import timestamp_ms

from smsblossom.jobs import Job, Priority, QueueName
from smsblossom.queue import codec, connection
from smsblossom.queue.calls import run_script, run_scripts
from smsblossom.queue.jobinfo import JobInfo, head_start_ms, job_info
from smsblossom.queue.topology import RESERVED_PRIORITIES, TOPOLOGY, Topology

_NORMAL_HEAD_MS = head_start_ms(Priority.NORMAL)
_LIMIT_S = 0.95


class Add(msgspec.Struct, frozen=True, kw_only=True):
    """One job to add, with how and when. See `QueueClient.add`."""

    job: Job
    job_id: str | None = None
    run_at: datetime | None = None
    delay_in: timedelta | None = None
    priority: Priority | None = None
    group: str | None = None
    expires_in: timedelta | None = None
    dedupe_key: str | None = None
    dedupe_in: timedelta | None = None


@dataclass(slots=True)
class _Waiting:
    """One caller's jobs on their way to Redis."""

    queue: QueueName
    ids: list[str]
    arguments: list[Any]
    answered: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class QueueClient:
    """Adds and looks up jobs. Calls that come while one is in flight share the next round trip."""

    def __init__(self, redis_client: redis.asyncio.Redis, *, topology: Topology = TOPOLOGY) -> None:
        self._redis = redis_client
        self._topology = topology
        self._waiting: list[_Waiting] = []
        self._sender: asyncio.Task[None] | None = None

    @property
    def redis(self) -> redis.asyncio.Redis:
        return self._redis

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
        ids = await self._send(job.queue, [how])
        return ids[0]

    async def add_many(self, adds: Sequence[Add]) -> list[str]:
        """Add jobs of any queues in one round trip; the ids come in the order of the jobs. Raises as `add`."""
        by_queue: dict[QueueName, list[int]] = {}
        for index, how in enumerate(adds):
            by_queue.setdefault(how.job.queue, []).append(index)
        ids = [""] * len(adds)
        answers = await asyncio.gather(
            *(self._send(queue, [adds[i] for i in indexes]) for queue, indexes in by_queue.items())
        )
        for indexes, answer in zip(by_queue.values(), answers, strict=True):
            for index, job_id in zip(indexes, answer, strict=True):
                ids[index] = job_id
        return ids

    async def add_flow(self, parent: Add, children: Sequence[Add]) -> str:
        """Add a parent that starts when all its children are completed, and the children. Returns the parent's id.

        A child that ends otherwise (dead, aborted, expired, removed) makes the parent dead. The id of a parent
        that is known already changes nothing, its children included.
        """
        parent_id = parent.job_id or _new_id()
        queue = parent.job.queue
        named = [msgspec.structs.replace(child, job_id=child.job_id or _new_id()) for child in children]
        enqueued_ms = timestamp_ms()
        _, (_, data, due, tag, _, _) = self._arguments(parent, enqueued_ms)
        due_ms = str(enqueued_ms + int(due)) if due.startswith("+") else due
        flow_ids = [child.job_id for child in named]
        arguments = [_NORMAL_HEAD_MS, parent_id, data, due_ms, tag, *flow_ids]
        async with asyncio.timeout(_LIMIT_S), connection.unavailable_as_error():
            added = await run_script(self._redis, "flow", [queue], arguments)
        if added:
            await self._add_children(named, (queue, parent_id))
        return parent_id

    async def get_job(self, queue: str, job_id: str) -> JobInfo | None:
        """What is known of a job, or None once its result is no longer kept. Raises `QueueUnavailable`."""
        async with within_a_second():
            rows = await run_script(self._redis, "inspect", [queue], [job_id])
        return job_info(queue, job_id, rows[0])

    async def ping(self) -> None:
        """Return when Redis answers; raise `QueueUnavailable` within a second when it does not."""
        async with within_a_second():
            await self._redis.ping()

    async def _add_children(self, children: Sequence[Add], parent: tuple[str, str]) -> None:
        by_queue: dict[QueueName, list[Add]] = {}
        for child in children:
            by_queue.setdefault(child.job.queue, []).append(child)
        for queue, adds in by_queue.items():
            await self._send(queue, adds, parent=parent)

    async def _send(self, queue: QueueName, adds: Sequence[Add], *, parent: tuple[str, str] | None = None) -> list[str]:
        enqueued_ms = timestamp_ms()
        waiting = _Waiting(queue, [], [])
        for how in adds:
            job_id, arguments = self._arguments(how, enqueued_ms, parent)
            waiting.ids.append(job_id)
            waiting.arguments.extend(arguments)
        self._waiting.append(waiting)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_waiting())
        await waiting.answered
        return waiting.ids

    async def _send_waiting(self) -> None:
        """Send whatever is waiting, again and again, until nothing is. Never raises: callers get the errors."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    async with within_a_second():
                        await self._send_batch(batch)
                except Exception as exc:  # noqa: BLE001 - handed to every caller of the batch
                    # Those who came meanwhile would wait for the same silence: they hear of it now.
                    batch, self._waiting = [*batch, *self._waiting], []
                    for waiting in batch:
                        if not waiting.answered.done():
                            waiting.answered.set_exception(exc)
        finally:
            self._sender = None

    async def _send_batch(self, batch: Sequence[_Waiting]) -> None:
        by_queue: dict[QueueName, list[_Waiting]] = {}
        for waiting in batch:
            by_queue.setdefault(waiting.queue, []).append(waiting)
        calls = [
            ("add", [queue], [_NORMAL_HEAD_MS, *(a for w in members for a in w.arguments)])
            for queue, members in by_queue.items()
        ]
        replies = await run_scripts(self._redis, calls)
        for members, kept in zip(by_queue.values(), replies, strict=True):
            _answer(members, dict(zip(kept[::2], kept[1::2], strict=True)))

    def _arguments(
        self, how: Add, enqueued_ms: int, parent: tuple[str, str] | None = None
    ) -> tuple[str, tuple[str, bytes, str, str, str, str]]:
        """The job's id and the six arguments of add.lua."""
        job = how.job
        priority = how.priority or job.priority
        job_id, uniqueness = _identity(how)
        expires_ms = None if how.expires_in is None else enqueued_ms + _ms(how.expires_in)
        data = codec.encode_job(
            job.function,
            job,
            enqueued_ms=enqueued_ms,
            priority=priority,
            expires_ms=expires_ms,
            parent=parent,
        )
        # The engine decides on expiry and says so; Redis drops the data an hour later, also for stock workers.
        expiry = "" if how.expires_in is None else f"+{_ms(how.expires_in) + 3_600_000}"
        return job_id, (job_id, data, _due(how), self._tag(job.queue, priority, how.group), expiry, uniqueness)

    def _tag(self, queue: QueueName, priority: Priority, group: str | None) -> str:
        reserved = priority in RESERVED_PRIORITIES and self._topology[queue].reserved > 0
        if priority is Priority.NORMAL and not reserved and not group:
            return ""
        return f"{'r' if reserved else '-'};{head_start_ms(priority)};{group or ''}"


def _answer(members: Sequence[_Waiting], kept: dict[int, bytes]) -> None:
    index = 0
    for waiting in members:
        for position in range(len(waiting.ids)):
            if index in kept:
                waiting.ids[position] = kept[index].decode()
            index += 1
        if not waiting.answered.done():
            waiting.answered.set_result(None)


def _identity(how: Add) -> tuple[str, str]:
    if how.job_id is not None:
        return how.job_id, "id"
    if how.dedupe_key is None:
        return _new_id(), ""
    name = f"{how.job.function}:{how.dedupe_key}"
    if how.dedupe_in is None:
        return name, "id"
    return _new_id(), f"key;{_ms(how.dedupe_in)};{name}"


def _due(how: Add) -> str:
    if how.run_at is not None:
        return str(round(how.run_at.timestamp() * 1000))
    return "" if how.delay_in is None else f"+{_ms(how.delay_in)}"


def _ms(duration: timedelta) -> int:
    return max(0, round(duration.total_seconds() * 1000))


def _new_id() -> str:
    return str(uuid_utils.uuid7())


@asynccontextmanager
async def within_a_second() -> AsyncIterator[None]:
    async with connection.unavailable_as_error(), asyncio.timeout(_LIMIT_S):
        yield


@asynccontextmanager
async def open_client(redis_url: str, *, topology: Topology = TOPOLOGY) -> AsyncIterator[QueueClient]:
    """A client whose connections are made when first needed, so that Redis may be down at the start."""
    redis_client = connection.open_redis(redis_url, connection.CLIENT_PATIENCE)
    try:
        yield QueueClient(redis_client, topology=topology)
    finally:
        await redis_client.aclose(close_connection_pool=True)
