"""Orders, written so that any order of arrival ends in the same row."""

from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, case, func, or_, select
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from smsblossom.domain.ids import ContactId, ShopId
from smsblossom.store.tables import orders


class OrderFacts(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    contact_id: ContactId | None
    name: str | None
    checkout_token: str | None
    source_name: str | None
    is_test: bool
    currency: str | None
    total: Decimal | None
    phone_sealed: bytes | None
    phone_index: bytes | None
    country: str | None
    province: str | None
    financial_status: str | None
    fulfillment_status: str | None
    processed_at: datetime | None
    paid_at: datetime | None
    cancelled_at: datetime | None
    shopify_updated_at: datetime | None
    details_sealed: bytes


_FIRST_KNOWN = frozenset({"id", "contact_id", "is_test", "processed_at", "paid_at", "cancelled_at"})
"""Facts that never change once said, or whose first saying counts."""


async def upsert(connection: AsyncConnection, shop_id: ShopId, facts: OrderFacts, *, now: datetime) -> None:
    row = {"shop_id": shop_id, **msgspec.structs.asdict(facts), "created_at": now, "updated_at": now}
    await connection.execute(_upsert(), row)


async def details(connection: AsyncConnection, shop_id: ShopId, order_id: int) -> bytes | None:
    """What later events of this order need of it, sealed; None for an order not seen yet."""
    c = orders.c
    found = await connection.execute(select(c.details_sealed).where(c.shop_id == shop_id, c.id == order_id))
    return found.scalar_one_or_none()


async def contact_of(connection: AsyncConnection, shop_id: ShopId, order_id: int) -> ContactId | None:
    c = orders.c
    found = await connection.execute(select(c.contact_id).where(c.shop_id == shop_id, c.id == order_id))
    row = found.scalar_one_or_none()
    return None if row is None else ContactId(row)


_PROGRESS = (
    "pending",
    "authorized",
    "unfulfilled",
    "partial",
    "partially_paid",
    "paid",
    "fulfilled",
    "partially_refunded",
    "refunded",
    "restocked",
    "voided",
)


def _by_progress(newer: ColumnElement[bool], tie: ColumnElement[bool], new: Any, old: Any) -> ColumnElement[Any]:
    """Bodies of one moment carry the same `updated_at`: between them the status that is further along wins."""
    rank = {status: place for place, status in enumerate(_PROGRESS)}
    further = case(rank, value=new, else_=-1) > case(rank, value=old, else_=-1)
    return case(
        (newer, func.coalesce(new, old)), (tie & further, func.coalesce(new, old)), else_=func.coalesce(old, new)
    )


@lru_cache(maxsize=1)
def _upsert() -> Insert:
    """Made once: to build and to fingerprint this statement takes ten times as long as to execute it."""
    statement = insert(orders)
    new, old = statement.excluded, orders.c
    newer = or_(old.shopify_updated_at.is_(None), new.shopify_updated_at > old.shopify_updated_at)
    tie = new.shopify_updated_at == old.shopify_updated_at
    changed: dict[str, Any] = {}
    for name in OrderFacts.__struct_fields__:
        if name in _FIRST_KNOWN:
            changed[name] = func.coalesce(old[name], new[name])
        elif name.endswith("_status"):
            changed[name] = _by_progress(newer, tie, new[name], old[name])
        else:
            changed[name] = case(
                (newer, func.coalesce(new[name], old[name])), else_=func.coalesce(old[name], new[name])
            )
    changed["shopify_updated_at"] = func.greatest(old.shopify_updated_at, new.shopify_updated_at)
    changed["updated_at"] = new.updated_at
    return statement.on_conflict_do_update(index_elements=[old.shop_id, old.id], set_=changed)
