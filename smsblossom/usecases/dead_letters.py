"""Dead letters in an operator's hands: look, run again, let expire.

Running again is two steps, so that a crash between them loses nothing: one transaction sets the letter to
`redriving` and brings its rows back; then the job goes back on its queue, and the letter is `redriven`. The ticker
finishes what a crash or a lost Redis has left between the two.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog

from smsblossom.bootstrap import Runtime
from smsblossom.queue import codec
from smsblossom.queue.codec import JobFailure
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.queue.control import Control
from smsblossom.queue.dead_letters import DeadLetter
from smsblossom.queue.jobinfo import JobState
from smsblossom.store import audit, dead_letters, schedules
from smsblossom.store.audit import AuditEntry
from smsblossom.store.dead_letters import Filter, KeptLetter
from smsblossom.store.engine import Connection
from smsblossom.usecases import bury
from smsblossom.usecases.manage import Conflict, NotFound, Refused

log = structlog.get_logger()

NEVER_BY_ITSELF: Final = ("Permanent", "UnknownFunction", "BrokenJob", "JobTooLarge")
"""Failures that another run meets again; an operator may still ask for it."""
AUTOMATIC_WAIT: Final = timedelta(minutes=10)
"""How long after its last failure a letter is run again by itself."""
_PAGE: Final = 200
_MOST: Final = 10_000


class Redriven(msgspec.Struct, frozen=True):
    """What a re-drive did. `waiting` jobs go back on their queue when Redis answers again."""

    letters: int
    waiting: int


async def listing(
    runtime: Runtime, *, where: Filter | None = None, limit: int = 50, offset: int = 0
) -> list[KeptLetter]:
    """The letters meant, last failed first; those still dead without a filter. `where.state=None` means any state."""
    async with runtime.store.sweeper() as connection:
        return await dead_letters.listing(connection, where=where, limit=limit, offset=offset)


async def show(runtime: Runtime, ref: str) -> KeptLetter:
    """The letter with this id, or that of this job id.

    Raises:
        Refused: there is none, or several shops have a dead job of that id.

    """
    async with runtime.store.sweeper() as connection:
        letter_id = _uuid(ref)
        if letter_id is not None and (found := await dead_letters.get(connection, letter_id)) is not None:
            return found
        letters = await dead_letters.by_job(connection, ref)
    if not letters:
        raise NotFound(f"dead letter: none with the id {ref!r}; list them with: smsblossom queue dead")
    if len(letters) > 1:
        raise Refused(f"dead letter: {len(letters)} have the job id {ref!r}; name one by its own id")
    return letters[0]


def job_data(letter: KeptLetter) -> Any:
    """The argument of the dead job as builtins, ids only; None when its bytes cannot be read."""
    try:
        arguments = codec.loads(letter.data).get("a") or [None]
    except (msgspec.DecodeError, AttributeError):
        return None
    return arguments[0]


async def depths(runtime: Runtime) -> dict[str, int]:
    """How many letters of each queue are dead, for the gauge."""
    async with runtime.store.sweeper() as connection:
        return await dead_letters.depths(connection)


async def redrive(runtime: Runtime, ref: str, *, actor: str) -> Redriven:
    """Run one dead job again, from its first attempt, by letter id or job id.

    Raises:
        Refused: no such letter, or it is not dead any more.

    """
    letter = await show(runtime, ref)
    if not await _begin(runtime, letter, actor=actor):
        raise Conflict(f"dead letter: {ref!r} is {letter.state} already; look with: smsblossom queue dead")
    return await _counted(runtime, 1)


async def redrive_matching(
    runtime: Runtime, *, where: Filter | None = None, actor: str, limit: int = _MOST
) -> Redriven:
    """Run again up to `limit` of the letters meant; each once, however often it dies again meanwhile."""
    seen: set[UUID] = set()
    begun = 0
    meant = msgspec.structs.replace(where or Filter(), state=dead_letters.LetterState.DEAD)
    while len(seen) < limit:
        page = await listing(runtime, where=meant, limit=min(_PAGE, limit - len(seen)))
        fresh = [letter for letter in page if letter.id not in seen]
        if not fresh:
            break
        for letter in fresh:
            seen.add(letter.id)
            begun += await _begin(runtime, letter, actor=actor)
    return await _counted(runtime, begun)


async def redrive_automatically(runtime: Runtime) -> dict[str, int]:
    """Run again what failed a while ago for a reason that may have passed, DEAD_LETTER_REDRIVES times each at most."""
    allowed = runtime.settings.dead_letter_redrives
    if allowed == 0:
        return {"redriven": 0}
    where = Filter(
        failed_before=runtime.now() - AUTOMATIC_WAIT, redriven_below=allowed, error_type_not_in=NEVER_BY_ITSELF
    )
    done = await redrive_matching(runtime, where=where, actor="system", limit=_PAGE)
    return {"redriven": done.letters}


async def finish_redrives(runtime: Runtime) -> int:
    """Put the jobs of `redriving` letters back on their queues; how many letters are finished.

    Raises:
        QueueUnavailable: Redis does not answer; the letters wait.

    """
    control = Control(runtime.queue.redis)
    async with runtime.store.sweeper() as connection:
        letters = await dead_letters.lock_redriving(connection, limit=_PAGE)
        for letter in letters:
            await _requeue(runtime, connection, control, letter)
        await dead_letters.end_redrive(connection, letters)
    return len(letters)


async def expire(runtime: Runtime) -> dict[str, int]:
    """Drop letters whose last failure is older than DEAD_LETTER_DAYS; one audit row each says so."""
    now = runtime.now()
    before = now - timedelta(days=runtime.settings.dead_letter_days)
    total = 0
    while True:
        async with runtime.store.sweeper() as connection:
            letters = await dead_letters.take_expired(connection, failed_before=before, limit=_PAGE)
            entries = [_end_of(letter, "dead_letter.expired", actor="system", at=now) for letter in letters]
            await audit.add_many(connection, entries)
        total += len(letters)
        if len(letters) < _PAGE:
            break
    if total:
        log.warning("dead_letters.expired", letters=total, before=before.isoformat())
    return {"dead_letters": total}


async def drop(runtime: Runtime, ref: str, *, actor: str) -> KeptLetter:
    """Delete one letter for good, by letter id or job id; an audit row says so.

    Raises:
        NotFound: no such letter.
        Conflict: it is being run again.

    """
    letter = await show(runtime, ref)
    if not await _drop(runtime, [letter], actor=actor):
        raise Conflict(f"dead letter: {ref!r} is being run again; look with: smsblossom queue dead show {ref}")
    return letter


async def drop_matching(runtime: Runtime, *, where: Filter, actor: str, limit: int = _MOST) -> int:
    """Delete up to `limit` of the letters meant, dead ones unless `where` says otherwise; how many went."""
    gone = 0
    while gone < limit:
        page = await listing(runtime, where=where, limit=min(_PAGE, limit - gone))
        dropped = await _drop(runtime, page, actor=actor)
        gone += dropped
        if not dropped:
            break
    return gone


async def _drop(runtime: Runtime, letters: Sequence[KeptLetter], *, actor: str) -> int:
    if not letters:
        return 0
    now = runtime.now()
    async with runtime.store.sweeper() as connection:
        taken = await dead_letters.take(connection, [letter.id for letter in letters])
        entries = [_end_of(letter, "dead_letter.dropped", actor=actor, at=now) for letter in taken]
        await audit.add_many(connection, entries)
    return len(taken)


async def _begin(runtime: Runtime, letter: KeptLetter, *, actor: str) -> bool:
    """Bring the job's rows back and mark the letter, in one transaction; False when somebody was first."""
    now, shop_id = runtime.now(), letter.shop_id
    async with runtime.store.transaction(shop_id) as connection:
        if not await dead_letters.begin_redrive(connection, shop_id, letter.id, now=now):
            return False
        await bury.revive_rows(connection, shop_id, letter.job_id, now=now)
        details = {"queue": letter.queue, "function": letter.function, "error_type": letter.error_type}
        await audit.add(
            connection,
            shop_id,
            actor=actor,
            action="dead_letter.redriven",
            entity=letter.job_id,
            details=details,
            request_id=letter.request_id,
            now=now,
        )
    return True


async def _counted(runtime: Runtime, begun: int) -> Redriven:
    finished = 0
    try:
        while finished < begun and (page := await finish_redrives(runtime)):
            finished += page
    except QueueUnavailable:
        log.warning("dead_letters.queue_unavailable", waiting=begun - finished)
        return Redriven(begun, max(0, begun - finished))
    return Redriven(begun, 0)


async def _requeue(runtime: Runtime, connection: Connection, control: Control, letter: KeptLetter) -> None:
    """Put one job back, unless the queue knows it: the sweeper or a run before a crash was first."""
    subject = bury.subject_of(letter.job_id)
    if isinstance(subject, bury.TickRow):
        await schedules.lock_tick(connection, (letter.shop_id, subject.schedule_id, subject.tick_at))
    info = await runtime.queue.get_job(letter.queue, letter.job_id)
    if info is not None and info.state is not JobState.DEAD:
        return
    await control.requeue(
        DeadLetter(
            job_id=letter.job_id,
            queue=letter.queue,
            function=letter.function,
            data=None,
            raw=letter.data,
            failure=JobFailure(letter.error_type, letter.error),
            attempts=letter.attempts,
            stalls=0,
            first_failed_at=letter.first_failed_at,
            died_at=letter.last_failed_at,
            shop_id=str(letter.shop_id),
            request_id=letter.request_id,
            priority=_priority(letter),
            group=letter.job_group,
        )
    )


def _priority(letter: KeptLetter) -> str | None:
    try:
        return codec.decode_job(letter.data).p
    except msgspec.DecodeError:
        return None


def _end_of(letter: KeptLetter, action: str, *, actor: str, at: datetime) -> AuditEntry:
    return AuditEntry(
        shop_id=letter.shop_id,
        actor=actor,
        action=action,
        at=at,
        entity=letter.job_id,
        request_id=letter.request_id,
        details={
            "queue": letter.queue,
            "function": letter.function,
            "state": letter.state,
            "error_type": letter.error_type,
            "attempts": letter.attempts,
            "last_failed_at": letter.last_failed_at.isoformat(),
        },
    )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
