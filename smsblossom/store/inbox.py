"""The inbox: webhook bodies as they came, each once per (shop, topic, webhook id)."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec
from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from smsblossom.domain.ids import ShopId, WebhookEventId
from smsblossom.store.engine import Store
from smsblossom.store.tables import webhook_events


class InboxState(StrEnum):
    RECEIVED = "received"
    PROCESSED = "processed"
    IGNORED = "ignored"
    REJECTED = "rejected"
    DEAD = "dead"
    OWED = "owed"
    """A compliance duty that is not done yet; never ignored, never aged out."""


class Delivery(msgspec.Struct, frozen=True):
    """One webhook as it arrived, sealed; a row to be."""

    shop_id: ShopId
    id: WebhookEventId
    topic: str
    webhook_id: str
    shopify_event_id: str | None
    shop_domain: str
    api_version: str | None
    triggered_at: datetime | None
    received_at: datetime
    request_id: str
    body_sealed: bytes
    body_bytes: int


class WebhookEvent(msgspec.Struct, frozen=True):
    """An inbox row, as processing needs it."""

    shop_id: ShopId
    id: WebhookEventId
    topic: str
    webhook_id: str
    shop_domain: str
    triggered_at: datetime | None
    received_at: datetime
    request_id: str
    body_sealed: bytes | None
    state: InboxState
    reason: str | None
    object_id: str | None


class Overdue(msgspec.Struct, frozen=True):
    """An inbox row whose job may have been lost."""

    shop_id: ShopId
    id: WebhookEventId
    topic: str
    request_id: str


_ADD = """
    WITH scope AS MATERIALIZED (SELECT set_config('app.shop_ids', $1, true))
    INSERT INTO webhook_events (shop_id, id, topic, webhook_id, shopify_event_id, shop_domain, api_version,
                                triggered_at, received_at, request_id, body_sealed, body_bytes)
    SELECT arrived.*
    FROM scope, unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                       $9::timestamptz[], $10::timestamptz[], $11::text[], $12::bytea[], $13::int[]) AS arrived
    ON CONFLICT (shop_id, topic, webhook_id) DO NOTHING
    RETURNING id
"""


async def add_many(store: Store, deliveries: Sequence[Delivery]) -> set[WebhookEventId]:
    """Insert these in one statement and one transaction; the ids that are new, the others were here before.

    Durable when this returns. Rows go in by the order of their key, so that two statements with the same rows cannot
    deadlock. The statement names its own shops: should `scope` come too late, row-level security refuses the rows.

    Raises:
        StoreUnavailable: not stored, as far as anybody knows.

    """
    rows = sorted(deliveries, key=_key)
    shops = ",".join(map(str, {row.shop_id for row in rows}))
    columns = zip(*map(msgspec.structs.astuple, rows), strict=True)
    async with store.statement() as connection:
        found = await connection.fetch(_ADD, shops, *columns)
    return {WebhookEventId(row["id"]) for row in found}


def _key(row: Delivery) -> tuple[str, int, str]:
    return row.webhook_id, row.shop_id.int, row.topic


_LOAD = select(*(webhook_events.c[name] for name in WebhookEvent.__struct_fields__)).where(
    webhook_events.c.shop_id == bindparam("shop"), webhook_events.c.id == bindparam("event")
)


async def load(connection: AsyncConnection, shop_id: ShopId, event_id: WebhookEventId) -> WebhookEvent | None:
    row = (await connection.execute(_LOAD, {"shop": shop_id, "event": event_id})).one_or_none()
    return None if row is None else msgspec.convert(row._asdict(), WebhookEvent)


async def settle(
    connection: AsyncConnection,
    shop_id: ShopId,
    event_id: WebhookEventId,
    state: InboxState,
    *,
    reason: str | None,
    object_id: str | None,
    now: datetime,
) -> bool:
    """End a received row; False when another run of the same job was first."""
    c = webhook_events.c
    done = await connection.execute(
        update(webhook_events)
        .where(c.shop_id == shop_id, c.id == event_id, c.state == InboxState.RECEIVED)
        .values(state=state, reason=reason, object_id=object_id, processed_at=now)
    )
    return done.rowcount == 1


async def forget_body(connection: AsyncConnection, shop_id: ShopId, event_id: WebhookEventId) -> None:
    """Drop a body whose content now lies, sealed, in its shop's own rows."""
    c = webhook_events.c
    await connection.execute(
        update(webhook_events).where(c.shop_id == shop_id, c.id == event_id).values(body_sealed=None)
    )


async def overdue(sweeper: AsyncConnection, *, before: datetime, limit: int) -> list[Overdue]:
    """Rows still `received` that came before this moment, oldest first."""
    c = webhook_events.c
    rows = await sweeper.execute(
        select(c.shop_id, c.id, c.topic, c.request_id)
        .where(c.state == InboxState.RECEIVED, c.received_at < before)
        .order_by(c.received_at)
        .limit(limit)
    )
    return [Overdue(ShopId(row.shop_id), WebhookEventId(row.id), row.topic, row.request_id) for row in rows]


async def listing(
    connection: AsyncConnection, shop_id: ShopId, *, limit: int, state: InboxState | None = None
) -> list[WebhookEvent]:
    """Newest first, without bodies."""
    c = webhook_events.c
    columns = [c[name] for name in WebhookEvent.__struct_fields__ if name != "body_sealed"]
    query = select(*columns).where(c.shop_id == shop_id).order_by(c.received_at.desc()).limit(limit)
    rows = await connection.execute(query if state is None else query.where(c.state == state))
    return [msgspec.convert({**row._asdict(), "body_sealed": None}, WebhookEvent) for row in rows]
