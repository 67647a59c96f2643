"""Contacts: one row per person a shop knows, by customer id, else by phone, else by e-mail."""

from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, case, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from smsblossom.domain.ids import ContactId, ShopId
from smsblossom.store.ids import new_id
from smsblossom.store.tables import contacts


class ContactFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What an event says of a person, sealed. None: the event does not say."""

    customer_id: int | None
    phone_sealed: bytes | None
    phone_index: bytes | None
    email_sealed: bytes | None
    email_index: bytes | None
    name_sealed: bytes | None
    locale: str | None
    country: str | None
    province: str | None
    source: str
    shopify_updated_at: datetime | None


_SAID = (
    "phone_sealed",
    "phone_index",
    "email_sealed",
    "email_index",
    "name_sealed",
    "locale",
    "country",
    "province",
)


async def upsert(
    connection: AsyncConnection, shop_id: ShopId, facts: ContactFacts, *, now: datetime
) -> ContactId | None:
    """The contact these facts are about, made or brought up to date; None when they identify nobody."""
    if facts.customer_id is not None:
        return await _upsert_customer(connection, shop_id, facts, now)
    if facts.phone_index is not None:
        known = await by_phone(connection, shop_id, facts.phone_index)
        return known or await _upsert_guest(connection, shop_id, facts, "phone_index", now)
    if facts.email_index is not None:
        return await _upsert_guest(connection, shop_id, facts, "email_index", now)
    return None


async def by_phone(connection: AsyncConnection, shop_id: ShopId, phone_index: bytes) -> ContactId | None:
    """The contact with this phone: the customer before the guest, then the oldest."""
    c = contacts.c
    found = await connection.execute(
        select(c.id)
        .where(c.shop_id == shop_id, c.phone_index == phone_index)
        .order_by(c.customer_id.is_(None), c.created_at)
        .limit(1)
    )
    row = found.scalar_one_or_none()
    return None if row is None else ContactId(row)


async def phone_index_of(connection: AsyncConnection, shop_id: ShopId, contact_id: ContactId) -> bytes | None:
    c = contacts.c
    found = await connection.execute(select(c.phone_index).where(c.shop_id == shop_id, c.id == contact_id))
    return found.scalar_one_or_none()


async def _upsert_customer(
    connection: AsyncConnection, shop_id: ShopId, facts: ContactFacts, now: datetime
) -> ContactId:
    return ContactId((await connection.execute(_customer_statement(), _row(shop_id, facts, now))).scalar_one())


async def _upsert_guest(
    connection: AsyncConnection, shop_id: ShopId, facts: ContactFacts, key: str, now: datetime
) -> ContactId:
    return ContactId((await connection.execute(_guest_statement(key), _row(shop_id, facts, now))).scalar_one())


def _row(shop_id: ShopId, facts: ContactFacts, now: datetime) -> dict[str, Any]:
    times = {"created_at": now, "updated_at": now}
    return {"shop_id": shop_id, "id": new_id(), **msgspec.structs.asdict(facts), **times}


@lru_cache(maxsize=1)
def _customer_statement() -> ReturningInsert[UUID]:
    """Made once: to build and to fingerprint such a statement takes longer than to execute it."""
    statement = insert(contacts)
    new, old = statement.excluded, contacts.c
    newer = or_(old.shopify_updated_at.is_(None), new.shopify_updated_at >= old.shopify_updated_at)
    changed = {name: _monotone(newer, new[name], old[name]) for name in _SAID}
    changed["shopify_updated_at"] = func.greatest(old.shopify_updated_at, new.shopify_updated_at)
    changed["updated_at"] = new.updated_at
    upserted = statement.on_conflict_do_update(index_elements=[old.shop_id, old.customer_id], set_=changed)
    return upserted.returning(contacts.c.id)


@lru_cache(maxsize=2)
def _guest_statement(key: str) -> ReturningInsert[UUID]:
    statement = insert(contacts)
    new, old = statement.excluded, contacts.c
    where = old.customer_id.is_(None) & (
        old.phone_index.is_not(None) if key == "phone_index" else old.phone_index.is_(None)
    )
    upserted = statement.on_conflict_do_update(
        index_elements=[old.shop_id, old[key]],
        index_where=where,
        set_={name: func.coalesce(new[name], old[name]) for name in _SAID} | {"updated_at": new.updated_at},
    )
    return upserted.returning(contacts.c.id)


def _monotone(newer: ColumnElement[bool], new: Any, old: Any) -> ColumnElement[Any]:
    """The newer event's word first, the other's where it says nothing: the end is the same in any order of arrival."""
    return case((newer, func.coalesce(new, old)), else_=func.coalesce(old, new))
