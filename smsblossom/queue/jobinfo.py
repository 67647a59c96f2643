"""What is known of one job, for the polling endpoint, the lists and the tests."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from smsblossom.jobs import Priority
from smsblossom.queue import codec
from smsblossom.queue.codec import JobFailure
from smsblossom.queue.topology import HEAD_STARTS


class JobState(StrEnum):
    """Disjoint. `failed` waits for its next attempt, or ended without success by an operator's or caller's wish."""

    WAITING = "waiting"
    ACTIVE = "active"
    DELAYED = "delayed"
    COMPLETED = "completed"
    FAILED = "failed"
    DEAD = "dead"


class JobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it stands. `attempts` counts those that ended; a running one is not among them."""

    id: str
    queue: str
    state: JobState
    function: str = ""
    priority: Priority | None = None
    group: str | None = None
    attempts: int = 0
    stalls: int = 0
    enqueued_at: datetime | None = None
    updated_at: datetime | None = None
    run_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: float | None = None
    note: str | None = None
    result: Any = None
    error: JobFailure | None = None
    data: Any = None
    worker: str | None = None


def moment(ms: float | bytes | str | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(float(ms) / 1000, UTC)


def job_info(queue: str, job_id: str, row: Sequence[Any]) -> JobInfo | None:
    """One row of inspect.lua as a value, or None when nothing is known of the job."""
    data, result, attempts, owner, locked, score, aside, later, failed, meta, dead, blocked, tag, now = row
    if data is None and dead:
        return _dead(queue, job_id, _pairs(dead))
    if data is None:
        return _ended(queue, job_id, codec.loads(result)) if result is not None else None
    extra = _pairs(meta)
    head_ms = float(tag.split(b";", 2)[1]) if tag else float(_NORMAL_HEAD_MS)
    due = [float(s) + head_ms for s in (aside, score) if s is not None]
    waits_until = later if later is not None else (float(score) if score is not None and float(score) > now else None)
    state = _state(
        active=owner is not None or bool(locked),
        failed=failed is not None,
        delayed=blocked is not None or waits_until is not None,
    )
    info = _alive(queue, job_id, data, state)
    return msgspec.structs.replace(
        info,
        attempts=int(attempts or 0),
        stalls=int(extra.get("stalls", 0)),
        group=(tag.decode().split(";", 2)[2] or None) if tag else None,
        updated_at=moment(extra.get("updated")),
        run_at=None if state is JobState.ACTIVE else moment(waits_until or min(due, default=None)),
        started_at=moment(owner.rsplit(b":", 1)[1]) if owner else None,
        worker=owner.rsplit(b":", 2)[0].decode() if owner else None,
        progress=float(extra["progress"]) if "progress" in extra else None,
        note=extra["note"].decode() if "note" in extra else None,
        error=msgspec.msgpack.decode(extra["error"], type=JobFailure) if "error" in extra else None,
    )


def _state(*, active: bool, failed: bool, delayed: bool) -> JobState:
    if active:
        return JobState.ACTIVE
    if failed:
        return JobState.FAILED
    return JobState.DELAYED if delayed else JobState.WAITING


def _alive(queue: str, job_id: str, data: bytes, state: JobState) -> JobInfo:
    try:
        job = codec.loads(data)
    except msgspec.DecodeError:
        return JobInfo(id=job_id, queue=queue, state=state)
    args = job.get("a") or [None]
    return JobInfo(
        id=job_id,
        queue=queue,
        state=state,
        function=job.get("f", ""),
        priority=_priority(job.get("p")),
        enqueued_at=moment(job.get("et")),
        data=args[0] if len(args) == 1 else args,
    )


def _dead(queue: str, job_id: str, fields: dict[str, bytes]) -> JobInfo:
    return msgspec.structs.replace(
        _alive(queue, job_id, fields["job"], JobState.DEAD),
        attempts=int(fields["attempts"]),
        stalls=int(fields["stalls"]),
        finished_at=moment(fields["last_failed"]),
        error=msgspec.msgpack.decode(fields["failure"], type=JobFailure),
    )


def _ended(queue: str, job_id: str, result: dict[str, Any]) -> JobInfo:
    error = result["r"].failure if isinstance(result["r"], codec.JobFailed) else None
    args = result.get("a") or [None]
    return JobInfo(
        id=job_id,
        queue=result.get("q", queue),
        state=JobState.COMPLETED if result["s"] else (JobState.DEAD if result.get("dead") else JobState.FAILED),
        function=result["f"],
        priority=_priority(result.get("p")),
        attempts=result["t"] or 0,
        enqueued_at=moment(result["et"]),
        started_at=moment(result["st"]),
        finished_at=moment(result["ft"]),
        result=result["r"] if result["s"] else None,
        error=error,
        data=args[0] if len(args) == 1 else args,
    )


def _priority(text: str | None) -> Priority | None:
    return _PRIORITIES.get(text)


def _pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}


def head_start_ms(priority: str | None) -> int:
    """The head start in the score of a job of this priority; a stock client's job has none."""
    return _HEAD_MS.get(priority, 0)


_PRIORITIES: dict[str | None, Priority] = {priority.value: priority for priority in Priority}
_HEAD_MS: dict[str | None, int] = {
    priority.value: round(start.total_seconds() * 1000) for priority, start in HEAD_STARTS.items()
}
_NORMAL_HEAD_MS = _HEAD_MS[Priority.NORMAL]
