"""`/queues`: how they stand, and what an operator may do to a whole queue."""

from datetime import timedelta
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from smsblossom.api.endpoints import Call, Endpoint
from smsblossom.api.schemas import Done, JobId, JobPage, Limit, Offset, Queue, Queues, queue_of, status_of
from smsblossom.queue.jobinfo import JobState
from smsblossom.usecases import queues


class JobsQuery(msgspec.Struct, frozen=True):
    state: Annotated[JobState, Meta(examples=["waiting"])] = JobState.WAITING
    offset: Offset = 0
    limit: Limit = 50


class DrainBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    delayed: Annotated[bool, Meta(examples=[False], description="also those due later")] = False


class CleanBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    state: Annotated[JobState, Meta(examples=["completed"], description="completed, failed or dead")]
    older_than_s: Annotated[float, Meta(ge=0, le=10**9, examples=[3600], description="seconds since their end")]
    limit: Annotated[int, Meta(ge=1, le=queues.MOST_CLEANED, examples=[1000])] = 1_000


class RetryBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    job_id: Annotated[JobId | None, Meta(description="this job alone; null for all in `state`")] = None
    state: Annotated[JobState, Meta(examples=["failed"], description="failed or dead")] = JobState.FAILED
    limit: Annotated[int, Meta(ge=1, le=queues.MOST_CLEANED, examples=[1000])] = 10_000


async def list_queues(call: Call) -> Queues:
    """How the five queues stand."""
    return Queues([queue_of(stats) for stats in await queues.stats(call.runtime)])


async def show_queue(call: Call) -> Queue:
    """How one queue stands."""
    [stats] = await queues.stats(call.runtime, [call.queue])
    return queue_of(stats)


async def pause(call: Call) -> Done:
    """Let no job of the queue start until it is resumed; 409 when it is paused already."""
    await queues.pause(call.runtime, call.queue, by=call.operator)
    return Done(queue=call.queue, done="paused")


async def resume(call: Call) -> Done:
    """Let the queue's jobs start again; 409 when it is not paused."""
    await queues.resume(call.runtime, call.queue, by=call.operator)
    return Done(queue=call.queue, done="resumed")


async def drain(call: Call, body: DrainBody) -> Done:
    """Remove all jobs that wait, and with `delayed` those due later. Running ones end."""
    removed = await queues.drain(call.runtime, call.queue, delayed=body.delayed, by=call.operator)
    return Done(queue=call.queue, done="drained", jobs=removed)


async def clean(call: Call, body: CleanBody) -> Done:
    """Forget jobs that ended longer ago than `older_than_s` seconds, up to `limit`."""
    older_than = timedelta(seconds=body.older_than_s)
    removed = await queues.clean(
        call.runtime, call.queue, body.state, older_than=older_than, limit=body.limit, by=call.operator
    )
    return Done(queue=call.queue, done="cleaned", jobs=removed)


async def retry(call: Call, body: RetryBody) -> Done:
    """Run failed or dead jobs again: one by its id, or all in a state, up to `limit`."""
    if body.job_id is not None:
        await queues.retry(call.runtime, call.queue, body.job_id, by=call.operator)
        return Done(queue=call.queue, done="retried", jobs=1)
    retried = await queues.retry_all(call.runtime, call.queue, body.state, limit=body.limit, by=call.operator)
    return Done(queue=call.queue, done="retried", jobs=retried)


async def list_jobs(call: Call, query: JobsQuery) -> JobPage:
    """The queue's jobs in one state, in the order in which they will run or have ended."""
    found, total = await queues.page_of_jobs(
        call.runtime.queue, call.queue, query.state, offset=query.offset, limit=query.limit
    )
    return JobPage([status_of(info) for info in found], total, query.offset, query.limit)


ENDPOINTS: Final = (
    Endpoint("GET", "/queues", list_queues),
    Endpoint("GET", "/queues/{queue}", show_queue),
    Endpoint("POST", "/queues/{queue}/pause", pause, problems=(409,)),
    Endpoint("POST", "/queues/{queue}/resume", resume, problems=(409,)),
    Endpoint("POST", "/queues/{queue}/drain", drain),
    Endpoint("POST", "/queues/{queue}/clean", clean),
    Endpoint("POST", "/queues/{queue}/retry", retry, problems=(409,)),
    Endpoint("GET", "/queues/{queue}/jobs", list_jobs),
)
