"""What the API reads and answers, as values; the terminal's `--json` prints the same.

Nothing personal: jobs carry ids, and what third parties wrote into an error has phones and e-mails blanked.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from smsblossom.jobs import Priority, QueueName
from smsblossom.queue.control import QueueStats
from smsblossom.queue.jobinfo import JobInfo, JobState
from smsblossom.telemetry import blank_personal
from smsblossom.usecases.queues import LONGEST_PAGE, job_type_of

Seconds = Annotated[float, Meta(description="seconds")]
Offset = Annotated[int, Meta(ge=0, le=1_000_000, examples=[0], description="how many to skip")]
Limit = Annotated[int, Meta(ge=1, le=LONGEST_PAGE, examples=[50], description="how many to list at most")]
JobId = Annotated[str, Meta(min_length=1, max_length=512, examples=["0193d3a0-7c2e-7f10-8a54-0d6a5f0e9c11"])]


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue as it stands. `totals` count since the queue began."""

    queue: QueueName
    is_paused: bool
    workers: Annotated[int, Meta(description="workers that were alive within the last 15 seconds")]
    waiting: int
    active: int
    delayed: int
    completed: Annotated[int, Meta(description="those whose result is still kept")]
    failed: Annotated[int, Meta(description="waiting for their next attempt, aborted or expired")]
    dead: Annotated[int, Meta(description="given up and not yet among the dead letters")]
    oldest_s: Annotated[float, Meta(description="how long the oldest due job has waited, in seconds")]
    parked_groups: Annotated[int, Meta(description="groups at their limit, with jobs that are due")]
    last_heartbeat_at: datetime | None
    totals: Mapping[str, int]


class Queues(msgspec.Struct, frozen=True):
    queues: list[Queue]


class JobError(msgspec.Struct, frozen=True):
    type: str
    message: str
    trace: str


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it stands. `attempts` counts those that ended; a time that has not come is null."""

    id: str
    queue: str
    state: JobState
    function: str
    priority: Priority | None
    group: str | None
    attempts: int
    stalls: Annotated[int, Meta(description="times its worker died under it")]
    progress: Annotated[float | None, Meta(description="0 to 1, as the running job last reported it")]
    note: str | None
    enqueued_at: datetime | None
    run_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime | None
    worker: str | None
    result: Any
    error: JobError | None
    data: Annotated[Mapping[str, Any] | None, Meta(description="the job's ids; null for a function unknown here")]


class JobPage(msgspec.Struct, frozen=True):
    """`total` counts all jobs in this state at this moment."""

    jobs: list[JobStatus]
    total: int
    offset: int
    limit: int


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to a queue, and to how many jobs where it was done to jobs."""

    queue: str
    done: str
    jobs: int | None = None


class JobDone(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to one job."""

    queue: str
    id: str
    done: str


def queue_of(stats: QueueStats) -> Queue:
    return Queue(
        queue=QueueName(stats.queue),
        is_paused=stats.is_paused,
        workers=len(stats.workers),
        waiting=stats.waiting,
        active=stats.active,
        delayed=stats.delayed,
        completed=stats.completed,
        failed=stats.failed,
        dead=stats.dead,
        oldest_s=round(stats.oldest.total_seconds(), 3),
        parked_groups=stats.parked_groups,
        last_heartbeat_at=stats.last_heartbeat_at,
        totals=stats.totals,
    )


def status_of(info: JobInfo) -> JobStatus:
    return JobStatus(
        id=info.id,
        queue=info.queue,
        state=info.state,
        function=info.function,
        priority=info.priority,
        group=info.group,
        attempts=info.attempts,
        stalls=info.stalls,
        progress=info.progress,
        note=None if info.note is None else blank_personal(info.note),
        enqueued_at=info.enqueued_at,
        run_at=info.run_at,
        started_at=info.started_at,
        finished_at=info.finished_at,
        updated_at=info.updated_at,
        worker=info.worker,
        result=info.result,
        error=_error_of(info),
        data=known_fields(info.function, info.data),
    )


def _error_of(info: JobInfo) -> JobError | None:
    failure = info.error
    if failure is None:
        return None
    return JobError(failure.type, blank_personal(failure.message), blank_personal(failure.trace))


def known_fields(function: str, data: object) -> Mapping[str, Any] | None:
    """The fields that the job's type has: a stranger may have put anything beside them."""
    job_type = job_type_of(function)
    if job_type is None or not isinstance(data, dict):
        return None
    return {name: data[name] for name in job_type.__struct_fields__ if name in data}
