"""Automations of a shop, and runs: one contact's way through one of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from smsblossom.domain.automations import Automation, Trigger
from smsblossom.domain.ids import AutomationId, ContactId, ShopId, WebhookEventId
from smsblossom.store.ids import new_id
from smsblossom.store.tables import automations, runs


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run to be judged, with its automation as it is now."""

    id: UUID
    automation_id: AutomationId
    contact_id: ContactId | None
    webhook_event_id: WebhookEventId
    request_id: str
    context_sealed: bytes
    received_at: datetime
    enabled: bool
    definition: dict[str, Any]


_RUNS = select(
    *(runs.c[name] for name in Run.__struct_fields__ if name in runs.c),
    automations.c.enabled,
    automations.c.definition,
).join(automations, (automations.c.shop_id == runs.c.shop_id) & (automations.c.id == runs.c.automation_id))


_PENDING = _RUNS.where(
    runs.c.shop_id == bindparam("shop"), runs.c.webhook_event_id == bindparam("event"), runs.c.state == "pending"
).order_by(runs.c.id)
_PLAN = insert(runs).on_conflict_do_nothing()
_FINISH = (
    update(runs)
    .where(runs.c.shop_id == bindparam("shop"), runs.c.id == bindparam("run"), runs.c.state == "pending")
    .values(state=bindparam("new_state"), finished_at=bindparam("at"))
)


class Pending(msgspec.Struct, frozen=True):
    """A run whose job may have been lost."""

    shop_id: ShopId
    contact_id: ContactId | None
    trigger: str
    webhook_event_id: WebhookEventId
    request_id: str


async def seed(connection: AsyncConnection, shop_id: ShopId, files: Sequence[Automation], *, now: datetime) -> int:
    """Give a shop these automations, leaving alone those it has; how many were new."""
    rows = [
        {
            "shop_id": shop_id,
            "id": new_id(),
            "key": file.key,
            "trigger": file.trigger,
            "enabled": file.enabled,
            "version": 1,
            "definition": msgspec.to_builtins(file),
            "created_at": now,
            "updated_at": now,
        }
        for file in files
    ]
    done = await connection.execute(
        insert(automations).values(rows).on_conflict_do_nothing().returning(automations.c.id)
    )
    return len(done.all())


async def set_enabled(connection: AsyncConnection, shop_id: ShopId, key: str, *, enabled: bool, now: datetime) -> bool:
    c = automations.c
    done = await connection.execute(
        update(automations).where(c.shop_id == shop_id, c.key == key).values(enabled=enabled, updated_at=now)
    )
    return done.rowcount == 1


async def plan_runs(
    connection: AsyncConnection,
    shop_id: ShopId,
    *,
    trigger: Trigger,
    subject: str,
    contact_id: ContactId | None,
    webhook_event_id: WebhookEventId,
    request_id: str,
    context_sealed: bytes,
    received_at: datetime,
    now: datetime,
) -> int:
    """Plan a run for every enabled automation of this trigger; one per webhook event, however often processed.

    Returns how many runs of this event there are now, old and new.
    """
    a = automations.c
    found = await connection.execute(
        select(a.id).where(a.shop_id == shop_id, a.trigger == trigger, a.enabled.is_(True)).order_by(a.id)
    )
    rows = [
        {
            "shop_id": shop_id,
            "id": new_id(),
            "automation_id": automation_id,
            "contact_id": contact_id,
            "trigger": trigger,
            "subject": subject,
            "webhook_event_id": webhook_event_id,
            "request_id": request_id,
            "context_sealed": context_sealed,
            "received_at": received_at,
            "created_at": now,
        }
        for automation_id in found.scalars()
    ]
    if rows:
        await connection.execute(_PLAN, rows)
    return len(rows)


async def pending_runs(connection: AsyncConnection, shop_id: ShopId, webhook_event_id: WebhookEventId) -> list[Run]:
    found = await connection.execute(_PENDING, {"shop": shop_id, "event": webhook_event_id})
    return [msgspec.convert(row._asdict(), Run) for row in found]


async def load_run(connection: AsyncConnection, shop_id: ShopId, run_id: UUID) -> Run | None:
    query = _RUNS.where(runs.c.shop_id == shop_id, runs.c.id == run_id)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else msgspec.convert(row._asdict(), Run)


async def finish_run(
    connection: AsyncConnection, shop_id: ShopId, run_id: UUID, *, now: datetime, state: str = "done"
) -> bool:
    """End a pending run; False when another worker did."""
    done = await connection.execute(_FINISH, {"shop": shop_id, "run": run_id, "new_state": state, "at": now})
    return done.rowcount == 1


async def overdue_runs(sweeper: AsyncConnection, *, before: datetime, limit: int) -> list[Pending]:
    r = runs.c
    rows = await sweeper.execute(
        select(r.shop_id, r.contact_id, r.trigger, r.webhook_event_id, r.request_id)
        .where(r.state == "pending", r.created_at < before)
        .ext(distinct_on(r.shop_id, r.webhook_event_id))
        .limit(limit)
    )
    return [msgspec.convert(row._asdict(), Pending) for row in rows]


async def listing(connection: AsyncConnection, shop_id: ShopId) -> list[tuple[AutomationId, bool, Automation]]:
    a = automations.c
    rows = await connection.execute(select(a.id, a.enabled, a.definition).where(a.shop_id == shop_id).order_by(a.key))
    return [(AutomationId(row.id), row.enabled, msgspec.convert(row.definition, Automation)) for row in rows]
