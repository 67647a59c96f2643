"""`/jobs`: add one, ask how it goes, act on it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from smsblossom.api.endpoints import Call, Endpoint
from smsblossom.api.schemas import JobDone, JobId, JobStatus, status_of
from smsblossom.jobs import Priority, QueueName
from smsblossom.usecases import queues

_FUNCTIONS: Final = ", ".join(queues.function_names())
_EXAMPLE: Final = {
    "shop_id": "6d3f3c3e-58f7-5d5e-9a35-0f0a6a1d7b11",
    "event_id": "0193d3a0-7c2e-7f10-8a54-0d6a5f0e9c11",
    "topic": "orders/create",
}


class AddBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A job of a known type. `request_id` and `created_at` need not be among its arguments."""

    function: Annotated[
        str, Meta(min_length=1, max_length=200, examples=["events:process"], description=f"one of {_FUNCTIONS}")
    ]
    arguments: Annotated[Mapping[str, Any], Meta(examples=[_EXAMPLE], description="the fields of the job's type")]
    job_id: Annotated[JobId | None, Meta(description="one that waits or runs already is left as it is")] = None
    priority: Annotated[Priority | None, Meta(examples=["normal"])] = None
    delay_s: Annotated[float, Meta(ge=0, le=10**8, examples=[60], description="seconds until it is due")] | None = None
    run_at: Annotated[datetime, Meta(tz=True, examples=["2026-12-01T09:00:00Z"])] | None = None
    dedupe_key: Annotated[str, Meta(min_length=1, max_length=200, examples=["order-1001"])] | None = None


class WhereQuery(msgspec.Struct, frozen=True):
    queue: Annotated[QueueName, Meta(examples=["events"])] | None = None


async def add(call: Call, body: AddBody) -> JobStatus:
    """Add a job by its function's name; its arguments are checked against the job's type."""
    new = queues.NewJob(
        function=body.function,
        arguments=body.arguments,
        job_id=body.job_id,
        priority=body.priority,
        delay_in=None if body.delay_s is None else timedelta(seconds=body.delay_s),
        run_at=body.run_at,
        dedupe_key=body.dedupe_key,
    )
    return status_of(await queues.add(call.runtime, new, by=call.operator))


async def show(call: Call, query: WhereQuery) -> JobStatus:
    """How a job goes: state, progress, attempts, times, result or error. Made for polling; looks on all queues."""
    return status_of(await queues.find_job(call.runtime, call.job_id, query.queue))


async def remove(call: Call) -> JobDone:
    """Forget a job that is not running."""
    await queues.remove(call.runtime, call.queue, call.job_id, by=call.operator)
    return _done(call, "removed")


async def retry(call: Call) -> JobDone:
    """Run a failed job now, or a dead one again."""
    await queues.retry(call.runtime, call.queue, call.job_id, by=call.operator)
    return _done(call, "retried")


async def promote(call: Call) -> JobDone:
    """Make a delayed job, or one that waits for its next attempt, due now."""
    await queues.promote(call.runtime, call.queue, call.job_id, by=call.operator)
    return _done(call, "promoted")


async def abort(call: Call) -> JobDone:
    """Stop a running job, or end one that waits."""
    await queues.abort(call.runtime, call.queue, call.job_id, by=call.operator)
    return _done(call, "aborted")


def _done(call: Call, what: str) -> JobDone:
    return JobDone(queue=call.queue, id=call.job_id, done=what)


ENDPOINTS: Final = (
    Endpoint("POST", "/jobs", add, status=202),
    Endpoint("GET", "/jobs/{job_id}", show),
    Endpoint("DELETE", "/queues/{queue}/jobs/{job_id}", remove, problems=(409,)),
    Endpoint("POST", "/queues/{queue}/jobs/{job_id}/retry", retry, problems=(409,)),
    Endpoint("POST", "/queues/{queue}/jobs/{job_id}/promote", promote, problems=(409,)),
    Endpoint("POST", "/queues/{queue}/jobs/{job_id}/abort", abort, problems=(409,)),
)
