"""What an operator asks of the queues, from the terminal or the API: each change leaves an audit row."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog

from smsblossom import jobs
from smsblossom.bootstrap import Runtime
from smsblossom.jobs import Job, Priority, QueueName
from smsblossom.queue.client import QueueClient
from smsblossom.queue.codec import JobFailure, JobTooLarge
from smsblossom.queue.control import Control, QueueStats, UnknownJob, WrongState
from smsblossom.queue.jobinfo import JobInfo, JobState
from smsblossom.shopify import payloads
from smsblossom.store import dead_letters
from smsblossom.store.dead_letters import Filter, KeptLetter, LetterState
from smsblossom.store.engine import StoreUnavailable
from smsblossom.usecases import audit
from smsblossom.usecases import dead_letters as letters_in_hand
from smsblossom.usecases.manage import Conflict, NotFound, Refused

log = structlog.get_logger()

LONGEST_PAGE: Final = 500
MOST_CLEANED: Final = 100_000
_LETTERS_WITHIN_S: Final = 1.0
_EVENT: Final = "event:"


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


async def stats(runtime: Runtime, names: Sequence[QueueName] = tuple(QueueName)) -> list[QueueStats]:
    """How these queues stand. Dead jobs are mostly dead letters, so both are counted as dead.

    While PostgreSQL does not answer the letters are missing from the counts; raises `QueueUnavailable` alone.
    """
    control = Control(runtime.queue.redis)
    found = [await control.stats(name) for name in names]
    letters = await _letters(runtime)
    return [msgspec.structs.replace(queue, dead=queue.dead + letters.get(queue.queue, 0)) for queue in found]


async def _letters(runtime: Runtime) -> dict[str, int]:
    try:
        async with asyncio.timeout(_LETTERS_WITHIN_S):
            async with runtime.store.sweeper() as connection:
                return await dead_letters.depths(connection)
    except (StoreUnavailable, TimeoutError):
        log.warning("dead_letters.not_counted")
        return {}


async def page_of_jobs(
    queue: QueueClient, name: QueueName, state: JobState, *, offset: int, limit: int
) -> tuple[list[JobInfo], int]:
    """One page of a queue's jobs in this state, and how many there are in all."""
    control = Control(queue.redis)
    found = await control.list_jobs(name, state, offset=offset, limit=limit)
    counts = msgspec.structs.asdict(await control.stats(name))
    return found, max(int(counts[state.value]), offset + len(found) if found else 0)


async def find_job(runtime: Runtime, job_id: str, name: QueueName | None = None) -> JobInfo:
    """The job of this id, in the queue named or in any, or among their dead letters.

    Raises:
        NotFound: nobody knows it (any more).

    """
    wanted = (name,) if name else tuple(QueueName)
    for candidate in wanted:
        info = await runtime.queue.get_job(candidate, job_id)
        if info is not None and _is_of(info, candidate):
            return info
    letter = await _letter_of(runtime, job_id, wanted)
    if letter is None:
        where = f"on {name}" if name else "on any queue"
        raise NotFound(f"job: {job_id!r} is not known {where}; list jobs with: smsblossom queue jobs {wanted[0]}")
    return _dead_job(letter)


async def _letter_of(runtime: Runtime, job_id: str, names: Sequence[QueueName]) -> KeptLetter | None:
    async with runtime.store.sweeper() as connection:
        letters = await dead_letters.by_job(connection, job_id)
    return next((letter for letter in letters if letter.queue in names), None)


def _dead_job(letter: KeptLetter) -> JobInfo:
    return JobInfo(
        id=letter.job_id,
        queue=letter.queue,
        state=JobState.DEAD,
        function=letter.function,
        attempts=letter.attempts,
        finished_at=letter.last_failed_at,
        error=JobFailure(letter.error_type, letter.error, letter.trace or ""),
    )


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

    Dead jobs are forgotten with their dead letters.

    Raises:
        Refused: only what has ended can be cleaned.

    """
    if state is JobState.DEAD:
        meant = Filter(queue=name, failed_before=runtime.now() - older_than)
        return await letters_in_hand.drop_matching(runtime, where=meant, actor=by.actor, limit=limit)
    try:
        removed = await _control(runtime).clean(name, state, older_than=older_than, limit=limit)
    except ValueError:
        raise Refused(f"state: {state} jobs have work to do; clean takes completed, failed or dead") from None
    older_than_s = older_than.total_seconds()
    await _note(runtime, by, "queue.cleaned", name, removed=removed, state=state.value, older_than_s=older_than_s)
    return removed


async def retry(runtime: Runtime, name: QueueName, job_id: str, *, by: Operator) -> None:
    """Run a failed job now, or a dead one again. Raises `NotFound`, `Conflict`."""
    letter = await _letter_of(runtime, job_id, [name])
    if letter is not None and letter.state is LetterState.DEAD:
        await letters_in_hand.redrive(runtime, str(letter.id), actor=by.actor)
        return
    await find_job(runtime, job_id, name)
    with _explained(name, job_id, "retry takes a failed or a dead one"):
        await _control(runtime).retry(name, job_id)
    await _note(runtime, by, "job.retried", name, job_id)


async def retry_all(runtime: Runtime, name: QueueName, state: JobState, *, limit: int, by: Operator) -> int:
    """Retry up to `limit` failed jobs, or dead ones, those among the dead letters included. Returns how many.

    Raises:
        Refused: the state is another.

    """
    if state not in (JobState.FAILED, JobState.DEAD):
        raise Refused(f"state: {state} jobs need no retry; retry takes failed or dead")
    retried = await _control(runtime).retry_all(name, state=state, limit=limit)
    if state is JobState.DEAD and retried < limit:
        meant = Filter(queue=name)
        done = await letters_in_hand.redrive_matching(runtime, where=meant, actor=by.actor, limit=limit - retried)
        retried += done.letters
    await _note(runtime, by, "queue.retried", name, retried=retried, state=state.value, limit=limit)
    return retried


async def remove(runtime: Runtime, name: QueueName, job_id: str, *, by: Operator) -> None:
    """Forget a job that is not running. Raises `NotFound`, `Conflict`."""
    await find_job(runtime, job_id, name)
    with _explained(name, job_id, f"stop it first with: smsblossom queue abort {name} {job_id}"):
        await _control(runtime).remove(name, job_id)
    await _note(runtime, by, "job.removed", name, job_id)


async def promote(runtime: Runtime, name: QueueName, job_id: str, *, by: Operator) -> None:
    """Make a delayed job, or one that waits for its next attempt, due now. Raises `NotFound`, `Conflict`."""
    await find_job(runtime, job_id, name)
    with _explained(name, job_id, "promote takes a delayed one, or a failed one that waits for its next attempt"):
        await _control(runtime).promote(name, job_id)
    await _note(runtime, by, "job.promoted", name, job_id)


async def abort(runtime: Runtime, name: QueueName, job_id: str, *, by: Operator) -> None:
    """Stop a running job, or end one that waits. Raises `NotFound`, `Conflict`."""
    await find_job(runtime, job_id, name)
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


_PLAINER: Final = {"Object missing required field": "is missing", "Object contains unknown field": "is no field of it"}
_ID: Final = "0193d3a0-7c2e-7f10-8a54-0d6a5f0e9c11"
_EXAMPLES: Final[dict[str, object]] = {
    "shop_id": "6d3f3c3e-58f7-5d5e-9a35-0f0a6a1d7b11",
    "request_id": "checkout-42",
    "created_at": "2026-12-01T09:00:00Z",
    "event_id": _ID,
    "event_ids": [_ID],
    "topic": "orders/create",
    "contact_id": _ID,
    "trigger": "order_created",
    "context": _ID,
    "campaign_id": "spring-sale",
    "batch_size": 100,
    "message_id": _ID,
    "provider": "mitto",
    "type": "sweep",
}


def job_type_of(function: str) -> type[Job] | None:
    """The type of the jobs that this function takes; None for a name this release does not know."""
    topic = topic_of(function)
    return jobs.HandleEvent if topic in payloads.TOPICS else _TYPES.get(function)


def topic_of(function: str) -> str | None:
    """`event:orders.create` is about orders/create."""
    return function.removeprefix(_EVENT).replace(".", "/") if function.startswith(_EVENT) else None


def function_names() -> list[str]:
    return sorted([*_TYPES, *(f"{_EVENT}{topic.replace('/', '.')}" for topic in payloads.TOPICS)])


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
        line = spoken_error(error, within="arguments")
        example = _EXAMPLES.get(line.partition(":")[0].removeprefix("arguments.").partition("[")[0])
        raise Refused(f"{line}; for example {msgspec.json.encode(example).decode()}" if example else line) from error


def spoken_error(error: msgspec.ValidationError, *, within: str = "") -> str:
    """`field: what is wrong`, from msgspec's own words."""
    problem, _, path = str(error).partition(" - at `$")
    named = [path.rstrip("`").lstrip(".")] if path else []
    for words, plain in _PLAINER.items():
        if problem.startswith(words):
            named.append(problem.rsplit("`", 2)[1])
            problem = plain
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
    """The audit row. What was asked for has been done by now: a row that cannot be written is spooled."""
    await audit.record(
        runtime,
        actor=by.actor,
        action=action,
        entity=f"{name}/{job_id}" if job_id else str(name),
        details=details,
        request_id=by.request_id,
        ip=by.ip,
    )
