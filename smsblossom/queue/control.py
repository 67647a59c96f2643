"""What an operator may do to the queues, from Python. The CLI and the operator API are thin over this."""

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import msgspec
import redis.asyncio
from arq.utils import timestamp_ms

from smsblossom.jobs import Priority, QueueName
from smsblossom.queue import codec, keys
from smsblossom.queue.calls import run_script
from smsblossom.queue.connection import within_a_second
from smsblossom.queue.dead_letters import DeadLetter
from smsblossom.queue.jobinfo import JobInfo, JobState, head_start_ms, job_info, moment
from smsblossom.queue.outcomes import JobAborted
from smsblossom.queue.topology import TOPOLOGY, GroupLimit, Topology

_NORMAL_HEAD_MS = head_start_ms(Priority.NORMAL)
_PAGE = 1_000


class UnknownJob(LookupError):  # noqa: N818
    """No job of this id is known on this queue."""


class WrongState(ValueError):  # noqa: N818
    """The job's state does not allow this. `state` says which it is in."""

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"job {job_id} is {state}")
        self.state = state


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """A queue as it stands. `oldest` is how long its longest waiting due job has waited.

    `totals` counts since the queue began: completed, retried, dead, stopped, stalled. `workers` are the ids that
    sent a heartbeat within the last 15 seconds, `last_heartbeat_at` the newest of all.
    """

    queue: str
    waiting: int
    active: int
    delayed: int
    completed: int
    failed: int
    dead: int
    is_paused: bool
    oldest: timedelta
    totals: Mapping[str, int]
    workers: Sequence[str]
    last_heartbeat_at: datetime | None
    parked_groups: int


class Control:
    """Every method raises `QueueUnavailable` within a second when Redis does not answer."""

    def __init__(self, redis_client: redis.asyncio.Redis, *, topology: Topology = TOPOLOGY) -> None:
        self._redis = redis_client
        self._topology = topology

    async def stats(self, queue: QueueName, *, alive_in: timedelta = timedelta(seconds=15)) -> QueueStats:
        row = await self._run("stats", queue, _NORMAL_HEAD_MS)
        beats = {row[9][i].decode(): float(row[9][i + 1]) for i in range(0, len(row[9]), 2)}
        alive_since = row[11] - alive_in.total_seconds() * 1000
        return QueueStats(
            queue=queue.value,
            waiting=row[0],
            active=row[1],
            delayed=row[2],
            completed=row[3],
            failed=row[4],
            dead=row[5],
            is_paused=bool(row[6]),
            oldest=timedelta(milliseconds=float(row[7])),
            totals={row[8][i].decode(): int(row[8][i + 1]) for i in range(0, len(row[8]), 2)},
            workers=[worker for worker, beat in beats.items() if beat >= alive_since],
            last_heartbeat_at=moment(max(beats.values(), default=None)),
            parked_groups=row[10],
        )

    async def pause(self, queue: QueueName) -> bool:
        """No job of this queue starts until `resume`, not even after a restart. False when it was paused already."""
        async with within_a_second():
            return bool(await self._redis.set(keys.paused(queue), "1", nx=True))

    async def resume(self, queue: QueueName) -> bool:
        """False when the queue was not paused."""
        async with within_a_second():
            was_paused = bool(await self._redis.delete(keys.paused(queue)))
            await self._redis.publish(keys.wake(queue), b"")
        return was_paused

    async def drain(self, queue: QueueName, *, delayed: bool = False) -> int:
        """Remove all waiting jobs, and with `delayed` those due later; running ones stay. Returns how many."""
        removed = await self._clear(queue, "waiting")
        if delayed:
            removed += await self._clear(queue, "delayed") + await self._clear(queue, "failed")
        return removed

    async def clean(self, queue: QueueName, state: JobState, *, older_than: timedelta, limit: int = 1_000) -> int:
        """Forget up to `limit` jobs that ended (completed, failed for good, dead) longer ago than `older_than`.

        Raises `ValueError` for the other states: jobs that still have work to do are drained or removed.
        """
        what = {JobState.COMPLETED: "completed", JobState.FAILED: "stopped", JobState.DEAD: "dead"}.get(state)
        if what is None:
            msg = f"only completed, failed and dead jobs can be cleaned, not {state}"
            raise ValueError(msg)
        removed = 0
        while removed < limit:
            gone, looked = await self._run("clean", queue, what, _ms(older_than), min(_PAGE, limit - removed))
            removed += gone
            if looked < _PAGE:
                break
        return removed

    async def remove(self, queue: QueueName, job_id: str) -> None:
        """Forget a job in any state but active. Raises `UnknownJob`, `WrongState`."""
        await self._act(queue, "remove", job_id)

    async def promote(self, queue: QueueName, job_id: str) -> None:
        """Make a delayed job, or one that waits for its next attempt, due now. Raises `UnknownJob`, `WrongState`."""
        await self._act(queue, "promote", job_id)

    async def retry(self, queue: QueueName, job_id: str) -> None:
        """Run a failed job now, or a dead one again from its first attempt. Raises `UnknownJob`, `WrongState`."""
        info = await self._info(queue, job_id)
        if info is None:
            raise UnknownJob(job_id)
        if info.state is JobState.FAILED and info.finished_at is not None:
            await self._add_again(queue, job_id)
            return
        await self._act(queue, "retry", job_id)

    async def retry_all(self, queue: QueueName, *, state: JobState = JobState.FAILED, limit: int = 10_000) -> int:
        """Retry up to `limit` jobs in state failed or dead. Returns how many."""
        retried = 0
        while retried < limit:
            page = await self._run("listing", queue, state.value, 0, min(_PAGE, limit - retried))
            for job_id in page:
                try:
                    await self.retry(queue, job_id.decode())
                except (UnknownJob, WrongState):
                    continue
                retried += 1
            if len(page) < _PAGE:
                break
        return retried

    async def abort(self, queue: QueueName, job_id: str) -> None:
        """Stop a running job, or end one that waits. Raises `UnknownJob`, `WrongState`."""
        info = await self._info(queue, job_id)
        if info is None:
            raise UnknownJob(job_id)
        now_ms = 0 if info.enqueued_at is None else round(info.enqueued_at.timestamp() * 1000)
        result = codec.encode({
            "t": info.attempts, "f": info.function, "a": [info.data], "k": {}, "et": now_ms, "s": False,
            "r": JobAborted("before it started"), "st": now_ms, "ft": now_ms, "q": queue.value, "id": job_id,
        })  # fmt: skip
        keep_ms = _ms(self._topology[queue].keep_result_in)
        await self._act(queue, "abort", job_id, result, keep_ms)

    async def list_jobs(self, queue: QueueName, state: JobState, *, offset: int = 0, limit: int = 50) -> list[JobInfo]:
        """Jobs in one state, in the order in which they will run or have ended."""
        ids = [job_id.decode() for job_id in await self._run("listing", queue, state.value, offset, limit)]
        if not ids:
            return []
        rows = await self._run("inspect", queue, *ids)
        infos = (job_info(queue, job_id, row) for job_id, row in zip(ids, rows, strict=True))
        return [info for info in infos if info is not None]

    async def set_limit(self, queue: QueueName, group: str, limit: GroupLimit | None) -> None:
        """Limit one group (`shop:…`) or all of a kind (`shop`) from now on, over all workers; None lifts it."""
        async with within_a_second():
            if limit is None:
                await cast("Awaitable[int]", self._redis.hdel(keys.limits(queue), group))
                return
            slots = "" if limit.concurrency is None else limit.concurrency
            rate = ";" if limit.rate is None else f"{limit.rate.count};{_ms(limit.rate.per)}"
            await cast("Awaitable[int]", self._redis.hset(keys.limits(queue), group, f"{slots};{rate}"))

    async def requeue(self, letter: DeadLetter) -> bool:
        """Run a job again from its dead letter. False when its id is waiting or running by now."""
        return await self._add_raw(QueueName(letter.queue), letter.job_id, letter.raw, letter.priority, letter.group)

    # ------------------------------------------------------------------

    async def _run(self, name: str, queue: QueueName, *arguments: Any) -> Any:
        async with within_a_second():
            return await run_script(self._redis, name, [queue.value], arguments)

    async def _clear(self, queue: QueueName, what: str) -> int:
        removed = 0
        while True:
            gone: int
            gone, looked = await self._run("clean", queue, what, 0, _PAGE)
            removed += gone
            if looked < _PAGE or gone == 0:
                return removed

    async def _info(self, queue: QueueName, job_id: str) -> JobInfo | None:
        rows = await self._run("inspect", queue, job_id)
        return job_info(queue, job_id, rows[0])

    async def _act(self, queue: QueueName, verb: str, job_id: str, data: bytes = b"", keep_ms: int = 0) -> None:
        state, is_done = await self._run("act", queue, verb, job_id, _NORMAL_HEAD_MS, data, keep_ms)
        if state is None:
            raise UnknownJob(job_id)
        if not is_done:
            names = {"blocked": "waiting for its children", "stopped": "failed"}
            raise WrongState(job_id, names.get(state.decode(), state.decode()))

    async def _add_again(self, queue: QueueName, job_id: str) -> None:
        """A job that was aborted or expired has only its result left, which carries its arguments."""
        async with within_a_second():
            raw = await self._redis.get(keys.RESULT + job_id)
        if raw is None:
            raise UnknownJob(job_id)
        result = codec.loads(raw)
        args = result["a"]
        job = codec.encode_job(result["f"], args[0], enqueued_ms=timestamp_ms(), priority=result.get("p"))
        await self._add_raw(queue, job_id, job, result.get("p"), None)

    async def _add_raw(
        self, queue: QueueName, job_id: str, raw: bytes, priority: str | None, group: str | None
    ) -> bool:
        tag = ""
        if group or (priority is not None and priority != Priority.NORMAL):
            tag = f"-;{head_start_ms(priority)};{group or ''}"
        async with within_a_second():
            exists = await self._redis.exists(keys.JOB + job_id)
            arguments = [_NORMAL_HEAD_MS, job_id, raw, "", tag, "", "id"]
            await run_script(self._redis, "add", [queue.value], arguments)
        return not exists


def _ms(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)
