"""What an operator asks of the queues, from the terminal or the API: each change leaves an audit row.

Reading needs the queue alone, so that it works while PostgreSQL is away.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog

from smsblossom import jobs
from smsblossom.bootstrap import Runtime
from smsblossom.domain.ids import SYSTEM
from smsblossom.jobs import Job, Priority, QueueName
from smsblossom.queue.client import QueueClient
from smsblossom.queue.codec import JobTooLarge
from smsblossom.queue.control import Control, QueueStats, UnknownJob, WrongState
from smsblossom.queue.jobinfo import JobInfo, JobState
from smsblossom.shopify import payloads
from smsblossom.store import audit
from smsblossom.store.engine import StoreUnavailable
from smsblossom.usecases.manage import Refused

log = structlog.get_logger()

LONGEST_PAGE: Final = 500
MOST_CLEANED: Final = 100_000
_EVENT: Final = "event:"


class NotFound(Refused):
    """There is nothing of this name."""


class Conflict(Refused):
    """The state of things does not allow it."""


class TooLarge(Refused):
    """Above 100 KB."""


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, for the audit log."""

    actor: str
    ip: str | None = None
    request_id: str | None = None


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to add, as a person spells it: see `add`."""

    function: str
    arguments: Mapping[str, Any]
    job_id: str | None = None
    priority: Priority | None = None
    delay_in: timedelta | None = None
    run_at: datetime | None = None
    dedupe_key: str | None = None


# ---------------------------------------------------------------------- reading


def queue_named(name: str) -> QueueName:
    """The queue of this name.

    Raises:
        NotFound: there is none.

    """
    try:
        return QueueName(name)
    except ValueError:
        raise NotFound(f"queue: there is none called {name!r}; one of {', '.join(QueueName)}") from None


async def stats(queue: QueueClient, names: Sequence[QueueName] = tuple(QueueName)) -> list[QueueStats]:
    control = Control(queue.redis)
    return [await control.stats(name) for name in names]


async def page_of_jobs(
    queue: QueueClient, name: QueueName, state: JobState, *, offset: int, limit: int
) -> tuple[list[JobInfo], int]:
    """One page of a queue's jobs in this state, and how many there are in all."""
    control = Control(queue.redis)
    found = await control.list_jobs(name, state, offset=offset, limit=limit)
    counts = msgspec.structs.asdict(await control.stats(name))
    return found, max(int(counts[state.value]), offset + len(found) if found else 0)


async def find_job(queue: QueueClient, job_id: str, name: QueueName | None = None) -> JobInfo:
    """The job of this id, in the queue named or in any.

    Raises:
        NotFound: no queue knows it (any more).

    """
    for candidate in (name,) if name else QueueName:
        info = await queue.get_job(candidate, job_id)
        if info is not None and _is_of(info, candidate):
            return info
    where = f"on {name}" if name else "on any queue"
    raise NotFound(f"job: {job_id!r} is not known {where}; list them with: smsblossom queue jobs events")


def _is_of(info: JobInfo, candidate: QueueName) -> bool:
    """Redis keeps a job by its id alone. Whose it is tells its function, or, of a function unknown here, its place."""
    job_type = job_type_of(info.function)
    if job_type is not None:
        return job_type.queue is candidate
    placed = info.run_at is not None or info.worker is not None or info.finished_at is not None
    return info.queue == candidate and placed


# ---------------------------------------------------------------------- changing


async def pause(runtime: Runtime, name: QueueName, *, by: Operator) -> None:
    """No job of this queue starts until it is resumed, not even after a restart.

    Raises:
        Conflict: it is paused already.

    """
    if not await _control(runtime).pause(name):
        raise Conflict(f"queue: {name} is paused already; resume it with: smsblossom queue resume {name}")
    await _note(runtime, by, "queue.paused", name)


async def resume(runtime: Runtime, name: QueueName, *, by: Operator) -> None:
    """Let jobs start again.

    Raises:
        Conflict: it is not paused.

    """
    if not await _control(runtime).resume(name):
        raise Conflict(f"queue: {name} is not paused; pause it with: smsblossom queue pause {name}")
    await _note(runtime, by, "queue.resumed", name)


async def drain(runtime: Runtime, name: QueueName, *, delayed: bool, by: Operator) -> int:
    """Remove what waits, and with `delayed` what is due later; running jobs end. Returns how many went."""
    removed = await _control(runtime).drain(name, delayed=delayed)
    await _note(runtime, by, "queue.drained", name, removed=removed, delayed=delayed)
    return removed


async def clean(
    runtime: Runtime, name: QueueName, state: JobState, *, older_than: timedelta, limit: int, by: Operator
) -> int:
    """Forget up to `limit` jobs that ended longer ago than `older_than`. Returns how many went.

    Raises:
        Refused: only what has ended can be cleaned.

    """
    try:
        removed = await _control(runtime).clean(name, state, older_than=older_than, limit=limit)
    except ValueError:
        raise Refused(f"state: {state} jobs have work to do; clean takes completed, failed or dead") from None
    facts = {"state": state.value, "older_than_s": older_than.total_seconds(), "limit": limit}
    await _note(runtime, by, "queue.cleaned", name, removed=removed, **facts)
    return removed


async def retry(runtime: Runtime, name: QueueName, job_id: str, *, by: Operator) -> None:
    """Run a failed job now, or a dead one again. Raises `NotFound`, `Conflict`."""
    await find_job(runtime.queue, job_id, name)
    with _explained(name, job_id, "retry takes a failed or a dead one"):
        await _control(runtime).retry(name, job_id)
    await _note(runtime, by, "job.retried", name, job_id)


async def retry_all(runtime: Runtime, name: QueueName, state: JobState, *, limit: int, by: Operator) -> int:
    """Retry up to `limit` failed or dead jobs that Redis still holds. Returns how many.

    Raises:
        Refused: the state is another.

    """
    if state not in (JobState.FAILED, JobState.DEAD):
        raise Refused(f"state: {state} jobs need no retry; retry takes failed or dead")
    retried = await _control(runtime).retry_all(name, state=state, limit=limit)
    await _note(runtime, by, "queue.retried", name, retried=retried, state=state.value, limit=limit)
    return retried


async def remove(runtime: Runtime, name: QueueName, job_id: str, *, by: Operator) -> None:
    """Forget a job that is not running. Raises `NotFound`, `Conflict`."""
    await find_job(runtime.queue, job_id, name)
    with _explained(name, job_id, f"stop it first with: smsblossom queue abort {name} {job_id}"):
        await _control(runtime).remove(name, job_id)
    await _note(runtime, by, "job.removed", name, job_id)


async def promote(runtime: Runtime, name: QueueName, job_id: str, *, by: Operator) -> None:
    """Make a delayed job, or one that waits for its next attempt, due now. Raises `NotFound`, `Conflict`."""
    await find_job(runtime.queue, job_id, name)
    with _explained(name, job_id, "promote takes a delayed one, or a failed one that waits for its next attempt"):
        await _control(runtime).promote(name, job_id)
    await _note(runtime, by, "job.promoted", name, job_id)


async def abort(runtime: Runtime, name: QueueName, job_id: str, *, by: Operator) -> None:
    """Stop a running job, or end one that waits. Raises `NotFound`, `Conflict`."""
    await find_job(runtime.queue, job_id, name)
    with _explained(name, job_id, "abort takes one that runs or has yet to run"):
        await _control(runtime).abort(name, job_id)
    await _note(runtime, by, "job.aborted", name, job_id)


async def add(runtime: Runtime, new: NewJob, *, by: Operator) -> JobInfo:
    """Put a job of a known type on its queue.

    Raises:
        Refused: naming the field that is missing, unknown or malformed.
        TooLarge: above 100 KB.

    """
    job = _checked(new, request_id=by.request_id or "api", now=runtime.now())
    try:
        job_id = await runtime.queue.add(
            job,
            job_id=new.job_id,
            priority=new.priority,
            delay_in=new.delay_in,
            run_at=new.run_at,
            dedupe_key=new.dedupe_key,
        )
    except JobTooLarge as error:
        raise TooLarge(f"arguments: {error}") from error
    await _note(runtime, by, "job.added", job.queue, job_id, function=new.function)
    info = await runtime.queue.get_job(job.queue, job_id)
    return info or JobInfo(id=job_id, queue=job.queue, state=JobState.COMPLETED, function=job.function)


# ---------------------------------------------------------------------- job types by name


_TYPES: Final[dict[str, type[Job]]] = {
    job_type.kind: job_type
    for job_type in (
        jobs.ProcessEvent,
        jobs.ApplyReceipts,
        jobs.HandleInbound,
        jobs.EvaluateAutomations,
        jobs.RunCampaignBatch,
        jobs.SendMessage,
        jobs.RunHousekeeping,
    )
}


def job_type_of(function: str) -> type[Job] | None:
    """The type of the jobs that this function takes; None for a name this release does not know."""
    topic = topic_of(function)
    return jobs.HandleEvent if topic in payloads.PARSERS else _TYPES.get(function)


def topic_of(function: str) -> str | None:
    """`event:orders.create` is about orders/create."""
    return function.removeprefix(_EVENT).replace(".", "/") if function.startswith(_EVENT) else None


def function_names() -> list[str]:
    return sorted([*_TYPES, *(f"{_EVENT}{topic.replace('/', '.')}" for topic in payloads.PARSERS)])


def _checked(new: NewJob, *, request_id: str, now: datetime) -> Job:
    job_type = job_type_of(new.function)
    if job_type is None:
        raise Refused(f"function: {new.function!r} is unknown; for example events:process")
    fields = job_type.__struct_fields__
    strange = sorted(set(new.arguments) - set(fields))
    if strange:
        raise Refused(f"arguments.{strange[0]}: {new.function} has no such field; it takes {', '.join(fields)}")
    given: dict[str, Any] = {"request_id": request_id, "created_at": now, **new.arguments}
    topic = topic_of(new.function)
    if topic is not None:
        given["topic"] = topic
    try:
        return msgspec.convert(given, job_type)
    except msgspec.ValidationError as error:
        raise Refused(spoken_error(error, within="arguments")) from error


def spoken_error(error: msgspec.ValidationError, *, within: str = "") -> str:
    """`field: what is wrong`, from msgspec's own words."""
    problem, _, path = str(error).partition(" - at `$")
    named = [path.rstrip("`").lstrip(".")] if path else []
    if "missing required field" in problem or "unknown field" in problem:
        named.append(problem.rsplit("`", 2)[1])
    field = ".".join(part for part in (within, *named) if part)
    return f"{field or 'body'}: {problem[:1].lower()}{problem[1:]}"


# ----------------------------------------------------------------------


class _explained:  # noqa: N801 - reads as a word in `with _explained(…):`
    """What the queue refuses, as a line for a person: `hint` says what would be right."""

    def __init__(self, name: QueueName, job_id: str, hint: str) -> None:
        self._name, self._job_id, self._hint = name, job_id, hint

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UnknownJob):
            raise NotFound(f"job: {self._job_id!r} is not known on {self._name}") from error
        if isinstance(error, WrongState):
            raise Conflict(f"job: {self._job_id} is {error.state}; {self._hint}") from error


def _control(runtime: Runtime) -> Control:
    return Control(runtime.queue.redis)


async def _note(
    runtime: Runtime, by: Operator, action: str, name: QueueName, job_id: str | None = None, **details: object
) -> None:
    """The audit row. What was asked for has been done by now: a row that cannot be written does not undo it."""
    entity = f"{name}/{job_id}" if job_id else str(name)
    try:
        async with runtime.store.transaction(SYSTEM) as connection:
            await audit.add(
                connection,
                SYSTEM,
                actor=by.actor,
                action=action,
                entity=entity,
                details=details,
                request_id=by.request_id,
                ip=by.ip,
                now=runtime.now(),
            )
    except StoreUnavailable:
        log.warning("audit.not_written", actor=by.actor, action=action, entity=entity, **details)
