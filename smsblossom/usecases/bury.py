"""Keep dead jobs in PostgreSQL, and end the rows they were for, so that the sweeper does not drive them for ever."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
import structlog

from smsblossom.bootstrap import Runtime
from smsblossom.domain.ids import SYSTEM, MessageId, ShopId, WebhookEventId
from smsblossom.domain.messages import MessageState
from smsblossom.queue.dead_letters import DeadLetter
from smsblossom.store import dead_letters, inbox, messages, revival, schedules
from smsblossom.store.dead_letters import LetterState
from smsblossom.store.engine import Connection, StoreUnavailable
from smsblossom.store.inbox import InboxState
from smsblossom.store.schedules import TickState
from smsblossom.telemetry import blank_personal

log = structlog.get_logger()

NOT_ITS_FAULT: Final = frozenset({StoreUnavailable.__name__})
"""A job that died because PostgreSQL was away is run again by us: it did nothing wrong, and its row waits."""
_LONGEST_TEXT: Final = 8_000


class EventRow(msgspec.Struct, frozen=True):
    """An inbox row, by `event:{id}`."""

    event_id: WebhookEventId


class RunRows(msgspec.Struct, frozen=True):
    """The runs that one webhook event started, by `runs:{event id}`."""

    cause: WebhookEventId


class MessageRow(msgspec.Struct, frozen=True):
    """A ledger row, by `send:{id}`."""

    message_id: UUID


class TickRow(msgspec.Struct, frozen=True):
    """One firing of a schedule, by `schedule:{id}:{ISO 8601 time}`."""

    schedule_id: UUID
    tick_at: datetime


Subject = EventRow | RunRows | MessageRow | TickRow


def subject_of(job_id: str) -> Subject | None:
    """The rows that a job is about, as its id tells; None for a job without rows or with an id of a stranger's."""
    kind, _, rest = job_id.partition(":")
    try:
        match kind:
            case "event":
                return EventRow(WebhookEventId(UUID(rest)))
            case "runs":
                return RunRows(WebhookEventId(UUID(rest)))
            case "send":
                return MessageRow(UUID(rest))
            case "schedule":
                schedule_id, _, tick_at = rest.partition(":")
                return TickRow(UUID(schedule_id), datetime.fromisoformat(tick_at))
            case _:
                return None
    except ValueError:
        return None


class DeadLetterStore:
    """The queue's `DeadLetters`, on the dead_letters table."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these letters. Raises StoreUnavailable; one letter that cannot be kept does not hold up the others."""
        refused: Exception | None = None
        for letter in letters:
            try:
                await self._add(letter)
            except StoreUnavailable:
                raise
            except Exception as error:
                log.exception("dead_letter.refused", job_id=letter.job_id, queue=letter.queue)
                refused = error
        if refused is not None:
            raise refused

    async def _add(self, letter: DeadLetter) -> None:
        kept = kept_letter(letter)
        async with self._runtime.store.transaction(kept.shop_id) as connection:
            is_new = await dead_letters.add(connection, kept) is not None
            if is_new and kept.state is LetterState.DEAD:
                await end_rows(connection, kept.shop_id, letter, now=self._runtime.now())
        if is_new:
            log.warning(
                "dead_letter.kept",
                job_id=letter.job_id,
                queue=letter.queue,
                function=letter.function,
                shop_id=str(kept.shop_id),
                request_id=letter.request_id,
                error_type=letter.failure.type,
                attempts=letter.attempts,
                runs_again=kept.state is LetterState.REDRIVING,
            )


def kept_letter(letter: DeadLetter) -> dead_letters.DeadLetter:
    """The letter as its row: what PostgreSQL cannot hold and what looks personal is left out of the texts."""
    state = LetterState.REDRIVING if letter.failure.type in NOT_ITS_FAULT else LetterState.DEAD
    return dead_letters.DeadLetter(
        shop_id=_shop_of(letter),
        queue=letter.queue,
        function=_text(letter.function),
        job_id=letter.job_id,
        data=letter.raw,
        error_type=_text(letter.failure.type),
        error=_text(letter.failure.message),
        trace=_text(letter.failure.trace or "") or None,
        attempts=letter.attempts,
        request_id=None if letter.request_id is None else _text(str(letter.request_id)),
        first_failed_at=letter.first_failed_at,
        last_failed_at=letter.died_at,
        job_group=letter.group,
        state=state,
    )


async def end_rows(connection: Connection, shop_id: ShopId, letter: DeadLetter, *, now: datetime) -> None:
    """End what the dead job was for."""
    match subject_of(letter.job_id):
        case EventRow(event_id):
            reason = f"job died: {letter.failure.type}"
            await inbox.settle(connection, shop_id, event_id, InboxState.DEAD, reason=reason, object_id=None, now=now)
        case RunRows(cause):
            await revival.end_runs(connection, shop_id, cause, now=now)
        case MessageRow(message_id):
            await _end_message(connection, shop_id, message_id, letter, now=now)
        case TickRow(schedule_id, tick_at):
            await schedules.end_tick(connection, (shop_id, schedule_id, tick_at), TickState.DEAD, now=now)
        case None:
            pass


async def revive_rows(connection: Connection, shop_id: ShopId, job_id: str, *, now: datetime) -> None:
    """The way back of `end_rows`: rows that died with this job are under way again. Others stay as they are."""
    match subject_of(job_id):
        case EventRow(event_id):
            await revival.revive_event(connection, shop_id, event_id)
        case RunRows(cause):
            await revival.revive_runs(connection, shop_id, cause)
        case MessageRow(message_id):
            await revival.revive_message(connection, shop_id, message_id, now=now)
        case TickRow(schedule_id, tick_at):
            await schedules.revive_tick(connection, (shop_id, schedule_id, tick_at))
        case None:
            pass


async def _end_message(
    connection: Connection, shop_id: ShopId, message_id: UUID, letter: DeadLetter, *, now: datetime
) -> None:
    if await revival.end_message(connection, shop_id, message_id, now=now):
        await messages.add_event(
            connection,
            shop_id,
            MessageId(message_id),
            kind=revival.JOB_DIED,
            state=MessageState.FAILED,
            code=_text(letter.failure.type),
            happened_at=letter.died_at,
            now=now,
            request_id=letter.request_id,
        )


def _text(text: str) -> str:
    return blank_personal(text.replace("\x00", ""))[:_LONGEST_TEXT]


def _shop_of(letter: DeadLetter) -> ShopId:
    """Whose job it was; the system's where a stranger's job names no shop."""
    try:
        return ShopId(UUID(str(letter.shop_id)))
    except ValueError:
        return SYSTEM
