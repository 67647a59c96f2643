"""Judge the runs that an event started, and put what may be sent into the ledger.

Each run in a transaction of its own: the recipient's lock, the facts, the decision, the ledger row. A hold owns a
ledger row; a withhold writes its decision and leaves the key free.
"""

from datetime import datetime

import structlog

from smsblossom import jobs
from smsblossom.bootstrap import Runtime
from smsblossom.domain.ids import ContactId, MessageId, ShopId, WebhookEventId
from smsblossom.domain.messages import MessageClass, MessageState
from smsblossom.domain.sending import Hold, Send, Withhold
from smsblossom.jobs import Priority
from smsblossom.queue.client import Add
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.store import automations, messages
from smsblossom.store.automations import Run
from smsblossom.store.engine import Connection
from smsblossom.store.messages import Draft
from smsblossom.usecases import judge
from smsblossom.usecases.judge import Case, Judgement

log = structlog.get_logger()


async def evaluate(runtime: Runtime, shop_id: ShopId, context: WebhookEventId) -> None:
    """Judge every pending run of this event, and wake delivery for what may leave now."""
    async with runtime.store.transaction(shop_id) as connection:
        pending = await automations.pending_runs(connection, shop_id, context)
    adds = [add for run in pending if (add := await _evaluate_run(runtime, shop_id, run)) is not None]
    await wake_delivery(runtime, adds)


async def _evaluate_run(runtime: Runtime, shop_id: ShopId, run: Run) -> Add | None:
    now = runtime.now()
    case = judge.case_of(runtime, shop_id, run)
    async with runtime.store.transaction(shop_id) as connection:
        if not await automations.finish_run(connection, shop_id, run.id, now=now):
            return None
        judgement = await judge.judge(runtime, connection, case, now=now)
        message_id = await _plan(runtime, connection, case, judgement, now=now)
        await judge.record(runtime, connection, case, judgement, message_id=message_id, now=now)
    _tell(case, judgement, message_id)
    if message_id is None or not isinstance(judgement.decision, Send):
        return None
    return delivery(
        shop_id,
        message_id,
        case.contact_id,
        runtime.provider.name,
        case.request_id,
        case.automation.message_class,
        now=now,
    )


async def _plan(
    runtime: Runtime, connection: Connection, case: Case, judgement: Judgement, *, now: datetime
) -> MessageId | None:
    decision = judgement.decision
    if isinstance(decision, Withhold):
        return None
    held = isinstance(decision, Hold)
    phone = judgement.phone
    assert phone is not None  # the number gate passed
    draft = Draft(
        source=judgement.key.source,
        source_id=case.automation_id,
        subject=judgement.key.subject,
        step=judgement.key.step,
        phone_index=judgement.key.phone_index,
        resend_no=judgement.key.resend_no,
        contact_id=case.contact_id,
        run_id=case.run_id,
        message_class=case.automation.message_class,
        state=MessageState.HELD if held else MessageState.QUEUED,
        phone_sealed=runtime.vault.encrypt_text(case.shop_id, phone.e164),
        body_sealed=runtime.vault.encrypt_text(case.shop_id, judgement.text),
        sender=judgement.sender,
        encoding=judgement.measure.encoding,
        parts=judgement.measure.parts,
        due_at=decision.until if isinstance(decision, Hold) else now,
        expires_at=case.occasion.happened_at + case.automation.maximum_age,
        provider=runtime.provider.name,
        received_at=case.received_at,
        planned_at=now,
        decided_at=now,
        queued_at=None if held else now,
        updated_at=now,
        request_id=case.request_id,
    )
    return await messages.plan(connection, case.shop_id, draft)


def _tell(case: Case, judgement: Judgement, message_id: MessageId | None) -> None:
    decision = judgement.decision
    log.info(
        "decision.made",
        shop_id=str(case.shop_id),
        automation=case.automation.key,
        subject=case.occasion.subject,
        verdict=type(decision).__name__.lower(),
        reason=None if isinstance(decision, Send) else decision.reason,
        message_id=None if message_id is None else str(message_id),
    )


def delivery(
    shop_id: ShopId,
    message_id: MessageId,
    contact_id: ContactId | None,
    provider: str,
    request_id: str,
    message_class: MessageClass,
    *,
    now: datetime,
    run_at: datetime | None = None,
) -> Add:
    """The job that submits a ledger row. Its id is made from the row's: adding twice adds once."""
    job = jobs.SendMessage(
        shop_id=shop_id,
        request_id=request_id,
        created_at=now,
        contact_id=contact_id,
        message_id=message_id,
        provider=provider,
    )
    return Add(job=job, job_id=f"send:{message_id}", priority=_PRIORITY[message_class], run_at=run_at)


async def wake_delivery(runtime: Runtime, adds: list[Add]) -> None:
    """When Redis is gone the rows wait for the sweeper."""
    if not adds:
        return
    try:
        await runtime.queue.add_many(adds)
    except QueueUnavailable:
        log.warning("delivery.queue_unavailable", messages=len(adds))


_PRIORITY = {
    MessageClass.KEYWORD_REPLY: Priority.CRITICAL,
    MessageClass.TRANSACTIONAL_URGENT: Priority.CRITICAL,
    MessageClass.TRANSACTIONAL: Priority.HIGH,
    MessageClass.PROMOTIONAL: Priority.LOW,
}
