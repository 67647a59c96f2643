"""What an operator looks up about texts: who a decision was about, what happened to a message."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from smsblossom.domain.ids import ContactId, MessageId, ShopId
from smsblossom.domain.messages import MessageState
from smsblossom.store.tables import contacts, message_events, suppressions


class Step(msgspec.Struct, frozen=True):
    """One thing that happened to a message: an attempt of ours, or a receipt."""

    message_id: MessageId
    kind: str
    state: MessageState
    code: str | None
    happened_at: datetime


async def phones_of(
    connection: AsyncConnection, shop_id: ShopId, contact_ids: Sequence[ContactId]
) -> dict[ContactId, bytes]:
    """The sealed phones of these contacts; those without one are left out."""
    c = contacts.c
    query = select(c.id, c.phone_sealed).where(
        c.shop_id == shop_id, c.id.in_(set(contact_ids)), c.phone_sealed.is_not(None)
    )
    return {ContactId(row.id): row.phone_sealed for row in await connection.execute(query) if row.phone_sealed}


async def steps_of(
    connection: AsyncConnection, shop_id: ShopId, message_ids: Sequence[MessageId]
) -> dict[MessageId, list[Step]]:
    """What happened to each of these messages, oldest first."""
    c = message_events.c
    query = (
        select(*(c[name] for name in Step.__struct_fields__))
        .where(c.shop_id == shop_id, c.message_id.in_(set(message_ids)))
        .order_by(c.recorded_at, c.id)
    )
    found: dict[MessageId, list[Step]] = {message_id: [] for message_id in message_ids}
    for row in await connection.execute(query):
        found[MessageId(row.message_id)].append(msgspec.convert(row._asdict(), Step))
    return found


async def is_opted_out(connection: AsyncConnection, shop_id: ShopId, phone_index: bytes) -> bool:
    """Whether this number asked this shop to stop, and did not take it back."""
    c = suppressions.c
    query = select(c.phone_index).where(c.shop_id == shop_id, c.phone_index == phone_index, c.lifted_at.is_(None))
    return (await connection.execute(query)).first() is not None
