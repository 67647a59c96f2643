"""Submit one ledger row: claim it (committed), call the provider once, record what is known.

The claim is what makes a text leave at most once: nobody else may submit the row, and a claim whose holder dies turns
`unknown`, never back to queued. Only a proven non-submission releases it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import msgspec
import structlog

from smsblossom.bootstrap import Runtime
from smsblossom.domain import retry
from smsblossom.domain.encoding import Encoding
from smsblossom.domain.ids import MessageId, ShopId
from smsblossom.domain.messages import MessageState
from smsblossom.domain.sending import Hold, Send, Withhold
from smsblossom.sms.provider import Accepted, ErrorClass, Outbound, Outcome, Refused, Unknown
from smsblossom.store import automations, controls, messages
from smsblossom.store.engine import Connection, StoreUnavailable
from smsblossom.store.messages import Candidate, Message
from smsblossom.store.shops import ShopStatus
from smsblossom.usecases import evaluate, judge
from smsblossom.vault import Undecipherable

log = structlog.get_logger()

DECISION_LASTS: Final = timedelta(seconds=60)
CLAIM_GOOD_FOR_S: Final = 10.0
"""A claim older than this on the monotonic clock is not acted on: its holder was stopped, others may think it dead."""
RECORD_FOR_S: Final = 20.0
"""With the provider's own time limits this stays inside the job's minute; then the row is left to turn `unknown`."""
LONGEST_WAIT: Final = timedelta(seconds=30)
_AFTER_DUE: Final = timedelta(milliseconds=20)
"""Queue scores are whole milliseconds; a job that starts a hair before its row is due would find nothing to do."""
_READY: Final = frozenset({MessageState.QUEUED, MessageState.HELD, MessageState.PLANNED})


async def deliver(runtime: Runtime, shop_id: ShopId, message_id: MessageId) -> None:
    """Submit this row if it is still to be submitted, lawful now, and nobody else's."""
    claimed_at = time.monotonic()
    message = await _claim(runtime, shop_id, message_id)
    if message is None:
        return
    if time.monotonic() - claimed_at > CLAIM_GOOD_FOR_S:
        outcome: Outcome = Refused(ErrorClass.TRANSIENT, "claim_too_old")
    else:
        outcome = await _submit(runtime, message)
    await _surely(partial(_record, runtime, message, outcome))


async def _claim(runtime: Runtime, shop_id: ShopId, message_id: MessageId) -> Message | None:
    """Claim the row; None when it is not to be submitted now, or not by us."""
    claimed: Message | None = None
    try:
        async with runtime.store.transaction(shop_id) as connection:
            ready = await _ready(runtime, connection, shop_id, message_id)
            if ready is None:
                return None
            message, decided_at = ready
            claimed_at = await messages.claim(
                connection, shop_id, message_id, owner=runtime.process_id, decided_at=decided_at, now=runtime.now()
            )
            if claimed_at is not None:
                claimed = msgspec.structs.replace(message, claimed_at=claimed_at)
    except StoreUnavailable:
        if claimed is not None:
            await _surely(partial(_take_back, runtime, claimed))
        raise
    return claimed


async def _ready(
    runtime: Runtime, connection: Connection, shop_id: ShopId, message_id: MessageId
) -> tuple[Message, datetime] | None:
    """The row and the time of its decision, made again where it is old, awaited its hour, or consent changed since."""
    now = runtime.now()
    candidate = await messages.lock_for_delivery(connection, shop_id, message_id)
    if candidate is None or candidate.message.state not in _READY or candidate.message.due_at > now:
        return None
    if controls.SENDING_HELD in candidate.switches:
        log.warning("message.sending_held", message_id=str(message_id))
        return None
    if not _is_stale(candidate, now):
        return candidate.message, candidate.message.decided_at
    return (candidate.message, now) if await _judge_again(runtime, connection, candidate.message) else None


def _is_stale(candidate: Candidate, now: datetime) -> bool:
    """Whether the decision must be made again before the text may leave."""
    message, heard_at = candidate.message, candidate.consent_heard_at
    return (
        message.state is not MessageState.QUEUED
        or now - message.decided_at > DECISION_LASTS
        or candidate.shop_status != ShopStatus.ACTIVE
        or controls.STOP_ALL in candidate.switches
        or (heard_at is not None and heard_at > message.decided_at)
    )


async def _judge_again(runtime: Runtime, connection: Connection, message: Message) -> bool:
    """Decide once more on the same occasion, now; True when it may still be sent."""
    now = runtime.now()
    run = await automations.load_run(connection, message.shop_id, message.run_id) if message.run_id else None
    if run is None:
        await messages.withhold(connection, message.shop_id, message.id, reason="run_is_gone", now=now)
        return False
    case = judge.case_of(runtime, message.shop_id, run)
    judgement = await judge.judge(runtime, connection, case, now=now, own=message.id)
    await judge.record(runtime, connection, case, judgement, message_id=message.id, now=now)
    match judgement.decision:
        case Send():
            return True
        case Hold(until):
            await messages.hold(connection, message.shop_id, message.id, until=until, now=now)
        case Withhold(_, reason):
            await messages.withhold(connection, message.shop_id, message.id, reason=reason, now=now)
    return False


def _outbound(runtime: Runtime, message: Message) -> Outbound:
    vault, now = runtime.vault, runtime.now()
    return Outbound(
        reference=str(message.id),
        to=vault.decrypt_text(message.shop_id, message.phone_sealed),
        sender=message.sender,
        text=vault.decrypt_text(message.shop_id, message.body_sealed),
        encoding=Encoding(message.encoding),
        validity=(message.expires_at or now + timedelta(days=2)) - now,
    )


async def _submit(runtime: Runtime, message: Message) -> Outcome:
    try:
        outbound = _outbound(runtime, message)
    except Undecipherable:
        return Refused(ErrorClass.PERMANENT_CONTENT, "undecipherable")
    with runtime.metrics.submission_seconds.labels(provider=message.provider).time():
        (outcome,) = await runtime.provider.send([outbound])
    return outcome


async def _take_back(runtime: Runtime, message: Message) -> None:
    """The connection broke while the claim was made. Had it been committed, nobody would submit the row: undo it."""
    now = runtime.now()
    assert message.claimed_at is not None
    async with runtime.store.transaction(message.shop_id) as connection:
        await messages.release(
            connection,
            message.shop_id,
            message.id,
            owner=runtime.process_id,
            claimed_at=message.claimed_at,
            error_class=ErrorClass.TRANSIENT,
            error_code="claim_unsure",
            due_at=now,
            now=now,
        )


async def _surely(write: Callable[[], Awaitable[None]]) -> None:
    """Write down what is known, trying again while the database is away: until then the row says `submitting`."""
    give_up_at = time.monotonic() + RECORD_FOR_S
    wait_s = 0.1
    while True:
        try:
            await write()
        except StoreUnavailable:
            if time.monotonic() > give_up_at:
                raise
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, 2.0)
        else:
            return


async def _record(runtime: Runtime, message: Message, outcome: Outcome) -> None:
    now = runtime.now()
    state, code = _end_of(outcome)
    wait = _wait(message, outcome) if isinstance(outcome, Refused) and outcome.error.may_try_again else None
    async with runtime.store.transaction(message.shop_id) as connection:
        kept = await _end_claim(runtime, connection, message, outcome, wait=wait, now=now)
        await messages.add_event(
            connection,
            message.shop_id,
            message.id,
            kind="attempt",
            state=state,
            code=code,
            happened_at=now,
            now=now,
            request_id=message.request_id,
        )
    _tell(runtime, message, outcome, kept=kept)
    if wait is not None and kept:
        await _try_again(runtime, message, at=now + wait)


async def _end_claim(
    runtime: Runtime,
    connection: Connection,
    message: Message,
    outcome: Outcome,
    *,
    wait: timedelta | None,
    now: datetime,
) -> bool:
    """Write the outcome into the row, if the claim is still ours."""
    owner, row = runtime.process_id, (connection, message.shop_id, message.id)
    if isinstance(outcome, Accepted):
        return await messages.record_accepted(*row, owner=owner, provider_id=outcome.provider_id, now=now)
    error = outcome.error if isinstance(outcome, Refused) else ErrorClass.AMBIGUOUS
    if wait is not None:
        assert message.claimed_at is not None
        return await messages.release(
            *row,
            owner=owner,
            claimed_at=message.claimed_at,
            error_class=error,
            error_code=outcome.code,
            due_at=now + wait,
            now=now,
        )
    ended = MessageState.REFUSED if isinstance(outcome, Refused) else MessageState.UNKNOWN
    return await messages.record_ended(
        *row, owner=owner, state=ended, error_class=error, error_code=outcome.code, now=now
    )


def _end_of(outcome: Outcome) -> tuple[MessageState, str | None]:
    match outcome:
        case Accepted():
            return MessageState.ACCEPTED, None
        case Refused(error, code):
            return (MessageState.QUEUED if error.may_try_again else MessageState.REFUSED), code
        case Unknown(code):
            return MessageState.UNKNOWN, code


def _wait(message: Message, refused: Refused) -> timedelta:
    """How long until the next try. The text's own age limit ends the tries, not their number."""
    if refused.retry_after is not None:
        return min(max(refused.retry_after, timedelta(seconds=1)), LONGEST_WAIT)
    return retry.delay_after(message.attempts + 1, jitter=0.5) or LONGEST_WAIT


async def _try_again(runtime: Runtime, message: Message, *, at: datetime) -> None:
    job = evaluate.delivery(
        message.shop_id,
        message.id,
        message.contact_id,
        message.provider,
        message.request_id,
        message.message_class,
        now=runtime.now(),
        run_at=at + _AFTER_DUE,
    )
    # This row's job is still running, and an id that runs is not added again: each attempt has a job of its own.
    job = msgspec.structs.replace(job, job_id=f"{job.job_id}:{message.attempts + 1}")
    await evaluate.wake_delivery(runtime, [job])


def _tell(runtime: Runtime, message: Message, outcome: Outcome, *, kept: bool) -> None:
    state, code = _end_of(outcome)
    label = "accepted" if isinstance(outcome, Accepted) else f"{state}:{code}"
    runtime.metrics.submissions.labels(provider=message.provider, outcome=label).inc()
    if isinstance(outcome, Accepted):
        runtime.metrics.path_seconds.observe((runtime.now() - message.received_at).total_seconds())
    log.info(
        "message.submitted",
        message_id=str(message.id),
        shop_id=str(message.shop_id),
        state=state,
        code=code,
        kept=kept,
        attempt=message.attempts + 1,
        request_id=message.request_id,
    )
