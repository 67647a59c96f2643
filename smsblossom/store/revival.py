"""Rows that a dead job leaves behind: ended with it, and under way again when it is re-driven."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from smsblossom.domain.ids import ShopId, WebhookEventId
from smsblossom.domain.messages import MessageState
from smsblossom.store.inbox import InboxState
from smsblossom.store.tables import messages, runs, webhook_events

JOB_DIED = "job_died"
_WITH_US = (MessageState.PLANNED, MessageState.QUEUED, MessageState.HELD)


async def end_runs(connection: AsyncConnection, shop_id: ShopId, cause: WebhookEventId, *, now: datetime) -> int:
    """End the pending runs of one webhook event; how many."""
    c = runs.c
    done = await connection.execute(
        update(runs)
        .where(c.shop_id == shop_id, c.webhook_event_id == cause, c.state == "pending")
        .values(state="dead", finished_at=now)
    )
    return done.rowcount


async def revive_runs(connection: AsyncConnection, shop_id: ShopId, cause: WebhookEventId) -> int:
    c = runs.c
    done = await connection.execute(
        update(runs)
        .where(c.shop_id == shop_id, c.webhook_event_id == cause, c.state == "dead")
        .values(state="pending", finished_at=None)
    )
    return done.rowcount


async def revive_event(connection: AsyncConnection, shop_id: ShopId, event_id: WebhookEventId) -> bool:
    """A dead inbox row is received again; False for one in any other state."""
    c = webhook_events.c
    done = await connection.execute(
        update(webhook_events)
        .where(c.shop_id == shop_id, c.id == event_id, c.state == InboxState.DEAD)
        .values(state=InboxState.RECEIVED, reason=None, processed_at=None)
    )
    return done.rowcount == 1


async def end_message(connection: AsyncConnection, shop_id: ShopId, message_id: UUID, *, now: datetime) -> bool:
    """Fail a text that never left us. One that may have left (submitting, unknown) is not touched."""
    c = messages.c
    done = await connection.execute(
        update(messages)
        .where(c.shop_id == shop_id, c.id == message_id, c.state.in_(_WITH_US))
        .values(state=MessageState.FAILED, error_class=JOB_DIED, error_code=None, finished_at=now, updated_at=now)
    )
    return done.rowcount == 1


async def revive_message(connection: AsyncConnection, shop_id: ShopId, message_id: UUID, *, now: datetime) -> bool:
    """Queue a text again that failed only because its job died. It is judged again: its decision is an old one."""
    c = messages.c
    done = await connection.execute(
        update(messages)
        .where(c.shop_id == shop_id, c.id == message_id, c.state == MessageState.FAILED, c.error_class == JOB_DIED)
        .values(state=MessageState.PLANNED, error_class=None, finished_at=None, updated_at=now)
    )
    return done.rowcount == 1
