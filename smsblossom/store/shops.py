"""Shops: who we serve, where they are, and whether they may send."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from smsblossom.domain.events import ShopChanged
from smsblossom.domain.ids import ShopId
from smsblossom.store.tables import shops


class ShopStatus(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    UNINSTALLED = "uninstalled"


class Shop(msgspec.Struct, frozen=True, kw_only=True):
    id: ShopId
    domain: str
    status: ShopStatus
    timezone: str
    country: str
    currency: str | None
    locale: str | None
    name: str | None
    sender: str | None
    settings: dict[str, Any]
    transactional_sms_disabled: bool | None
    connected_at: datetime
    uninstalled_at: datetime | None


_COLUMNS = [shops.c[name] for name in Shop.__struct_fields__]
_GET = select(*_COLUMNS).where(shops.c.id == bindparam("shop"))


async def add(connection: AsyncConnection, shop: Shop, *, now: datetime) -> bool:
    """Insert a shop, or connect it again with these settings; True when it was new."""
    values = {**msgspec.structs.asdict(shop), "updated_at": now}
    kept = {name: value for name, value in values.items() if name != "id"}
    statement = insert(shops).values(values).on_conflict_do_update(index_elements=[shops.c.id], set_=kept)
    existed = await get(connection, shop.id) is not None
    await connection.execute(statement)
    return not existed


async def get(connection: AsyncConnection, shop_id: ShopId) -> Shop | None:
    row = (await connection.execute(_GET, {"shop": shop_id})).one_or_none()
    return None if row is None else msgspec.convert(row._asdict(), Shop)


async def listing(sweeper: AsyncConnection) -> list[Shop]:
    rows = await sweeper.execute(select(*_COLUMNS).order_by(shops.c.domain))
    return [msgspec.convert(row._asdict(), Shop) for row in rows]


async def set_status(connection: AsyncConnection, shop_id: ShopId, status: ShopStatus, *, now: datetime) -> bool:
    """Pause, resume or retire a shop; False when there is none."""
    values: dict[str, Any] = {"status": status, "updated_at": now}
    if status is ShopStatus.UNINSTALLED:
        values["uninstalled_at"] = now
    done = await connection.execute(update(shops).where(shops.c.id == shop_id).values(values))
    return done.rowcount == 1


async def apply_change(connection: AsyncConnection, shop_id: ShopId, change: ShopChanged, *, now: datetime) -> bool:
    """Take over what a shop/update says; fields that it leaves null stay as they are."""
    known = {
        name: value
        for name, value in msgspec.structs.asdict(change).items()
        if value is not None and name != "updated_at"
    }
    done = await connection.execute(update(shops).where(shops.c.id == shop_id).values(**known, updated_at=now))
    return done.rowcount == 1
