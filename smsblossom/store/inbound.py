"""Texts that people sent us."""

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from smsblossom.domain.ids import ShopId
from smsblossom.store.tables import inbound_messages, routes


class InboundMessage(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    provider: str
    provider_id: str
    phone_sealed: bytes
    phone_index: bytes
    body_sealed: bytes
    keyword: str | None
    received_at: datetime
    request_id: str


async def add(connection: AsyncConnection, shop_id: ShopId, message: InboundMessage) -> bool:
    """Keep an inbound text; False when it was kept before."""
    done = await connection.execute(
        insert(inbound_messages)
        .values(shop_id=shop_id, **msgspec.structs.asdict(message))
        .on_conflict_do_nothing()
        .returning(inbound_messages.c.id)
    )
    return done.one_or_none() is not None


async def shops_of_number(connection: AsyncConnection, number: str) -> list[ShopId]:
    """The shops that send from this number or name: whom a reply to it is for."""
    r = routes.c
    rows = await connection.execute(select(r.shop_id).where(r.kind == "inbound", r.key == number))
    return sorted(ShopId(row) for row in rows.scalars())


async def route_number(connection: AsyncConnection, shop_id: ShopId, number: str) -> None:
    """Replies to this number belong to this shop; shops that share a number all hear them."""
    await connection.execute(
        insert(routes).values(kind="inbound", key=number, shop_id=shop_id).on_conflict_do_nothing()
    )
