"""A job to add, and the six arguments add.lua takes for it. No I/O."""

from datetime import datetime, timedelta

import msgspec
import uuid_utils

from smsblossom.jobs import Job, Priority, QueueName
from smsblossom.queue import codec
from smsblossom.queue.jobinfo import head_start_ms
from smsblossom.queue.topology import RESERVED_PRIORITIES, Topology

NORMAL_HEAD_MS = head_start_ms(Priority.NORMAL)

Arguments = tuple[str, bytes, str, str, str, str]


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


def arguments(how: Add, topology: Topology, enqueued_ms: int, parent: tuple[str, str] | None = None) -> Arguments:
    """The job's id, data, due time, tag, expiry and uniqueness, as add.lua reads them. Raises `JobTooLarge`."""
    job = how.job
    priority = how.priority or job.priority
    job_id, uniqueness = _identity(how)
    expires_ms = None if how.expires_in is None else enqueued_ms + ms(how.expires_in)
    data = codec.encode_job(
        job.function, job, enqueued_ms=enqueued_ms, priority=priority, expires_ms=expires_ms, parent=parent
    )
    # The engine decides on expiry and says so; Redis drops the data an hour later, also for stock workers.
    expiry = "" if how.expires_in is None else f"+{ms(how.expires_in) + 3_600_000}"
    return job_id, data, _due(how), tag_of(job.queue, priority, how.group, topology), expiry, uniqueness


def tag_of(queue: QueueName, priority: Priority, group: str | None, topology: Topology) -> str:
    """What cycle.lua must know of a job that is not in the plain lane at normal priority."""
    reserved = priority in RESERVED_PRIORITIES and topology[queue].reserved > 0
    if priority is Priority.NORMAL and not reserved and not group:
        return ""
    return f"{'r' if reserved else '-'};{head_start_ms(priority)};{group or ''}"


def _identity(how: Add) -> tuple[str, str]:
    if how.job_id is not None:
        return how.job_id, "id"
    if how.dedupe_key is None:
        return new_job_id(), ""
    name = f"{how.job.function}:{how.dedupe_key}"
    if how.dedupe_in is None:
        return name, "id"
    return new_job_id(), f"key;{ms(how.dedupe_in)};{name}"


def _due(how: Add) -> str:
    if how.run_at is not None:
        return str(round(how.run_at.timestamp() * 1000))
    return "" if how.delay_in is None else f"+{ms(how.delay_in)}"


def ms(duration: timedelta) -> int:
    return max(0, round(duration.total_seconds() * 1000))


def new_job_id() -> str:
    return str(uuid_utils.uuid7())
