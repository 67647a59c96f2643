"""The sweeper: PostgreSQL is the truth, so whatever Redis forgot is found here and set going again."""

from datetime import timedelta
from typing import Final

import structlog

from smsblossom.bootstrap import Runtime
from smsblossom.domain.ids import SYSTEM
from smsblossom.queue.client import Add
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.store import automations, controls, inbox, messages, workers
from smsblossom.usecases import accept, evaluate, intake

log = structlog.get_logger()

EVERY_S: Final = 5.0
GRACE: Final = timedelta(seconds=5)
"""A row younger than this still has its job on the way."""
DEAD_AFTER: Final = timedelta(seconds=15)
LONGEST_CALL: Final = timedelta(minutes=5)
AT_ONCE: Final = 2000


async def sweep(runtime: Runtime) -> dict[str, int]:
    """One round; how many rows of each kind were set going."""
    counts = {"claims": await _bury_claims(runtime)}
    adds: list[Add] = []
    for kind, found in (
        ("inbox", await _overdue_events(runtime)),
        ("runs", await _overdue_runs(runtime)),
        ("messages", await _due_messages(runtime)),
    ):
        counts[kind] = len(found)
        adds += found
    if adds:
        await _enqueue(runtime, adds)
    for kind, count in counts.items():
        if count:
            runtime.metrics.swept.labels(kind=kind).inc(count)
            log.info("sweeper.found", kind=kind, rows=count)
    return counts


async def _bury_claims(runtime: Runtime) -> int:
    """Claims of the dead: nobody can say whether their texts left."""
    async with runtime.store.sweeper() as connection:
        orphans = await messages.orphaned_to_unknown(
            connection, dead_after=DEAD_AFTER, longest_call=LONGEST_CALL, now=runtime.now()
        )
    for shop_id, message_id in orphans:
        log.warning("message.unknown", shop_id=str(shop_id), message_id=str(message_id), reason="claim_died")
    return len(orphans)


async def _overdue_events(runtime: Runtime) -> list[Add]:
    now = runtime.now()
    async with runtime.store.sweeper() as connection:
        rows = await inbox.overdue(connection, before=now - GRACE, limit=AT_ONCE)
    return [accept.job_for(row.topic, row.shop_id, row.id, row.request_id, now=now) for row in rows]


async def _overdue_runs(runtime: Runtime) -> list[Add]:
    now = runtime.now()
    async with runtime.store.sweeper() as connection:
        rows = await automations.overdue_runs(connection, before=now - GRACE, limit=AT_ONCE)
    return [
        intake.evaluation(row.shop_id, row.contact_id, row.trigger, row.webhook_event_id, row.request_id, now=now)
        for row in rows
    ]


async def _due_messages(runtime: Runtime) -> list[Add]:
    now = runtime.now()
    async with runtime.store.sweeper() as connection:
        if await controls.is_on(connection, controls.SENDING_HELD):
            return []
        rows = await messages.due(connection, now=now, grace=GRACE, limit=AT_ONCE)
    return [
        evaluate.delivery(row.shop_id, row.id, row.contact_id, row.provider, row.request_id, row.message_class, now=now)
        for row in rows
    ]


async def _enqueue(runtime: Runtime, adds: list[Add]) -> None:
    try:
        await runtime.queue.add_many(adds)
    except QueueUnavailable:
        log.warning("sweeper.queue_unavailable", jobs=len(adds))


async def hold_after_restore(runtime: Runtime, *, silent_for: timedelta = timedelta(hours=2)) -> bool:
    """Hold all sending when nobody was alive for hours and nobody stopped cleanly: a restored backup looks like this.

    Its rows may describe texts that left after the backup was made. An operator looks, then releases. Against the
    sandbox it only warns. Returns whether sending is held now.
    """
    async with runtime.store.transaction(SYSTEM) as connection:
        silence = await workers.silence(connection)
        if silence is None or silence < silent_for:
            return False
        hours = round(silence.total_seconds() / 3600, 1)
        if runtime.settings.sandbox:
            log.warning("start.after_silence", hours=hours, held=False)
            return False
        await controls.put(connection, controls.SENDING_HELD, "on", by="start", now=runtime.now())
    log.error(
        "start.after_silence",
        hours=hours,
        held=True,
        detail="restored backup? check, then: smsblossom stop-all --release",
    )
    return True
