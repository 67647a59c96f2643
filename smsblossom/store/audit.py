"""The audit log, append-only: who did what to which entity."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from smsblossom.domain.ids import ShopId
from smsblossom.store.ids import new_id
from smsblossom.store.tables import audit_log


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One row. Its id makes a second write of the same entry change nothing."""

    shop_id: ShopId
    actor: str
    action: str
    at: datetime
    entity: str | None = None
    details: dict[str, Any] = {}
    request_id: str | None = None
    ip: str | None = None
    id: UUID = msgspec.field(default_factory=new_id)


class Tally(msgspec.Struct, frozen=True):
    """How often an actor did something, and when first and last."""

    action: str
    actor: str
    count: int
    first_at: datetime
    last_at: datetime


async def add(
    connection: AsyncConnection,
    shop_id: ShopId,
    *,
    actor: str,
    action: str,
    entity: str | None = None,
    details: dict[str, Any] | None = None,
    request_id: str | None = None,
    ip: str | None = None,
    now: datetime,
) -> None:
    """Write one row inside the action's own transaction: both commit, or neither."""
    entry = AuditEntry(
        shop_id=shop_id,
        actor=actor,
        action=action,
        entity=entity,
        details=details or {},
        request_id=request_id,
        ip=ip,
        at=now,
    )
    await add_many(connection, [entry])


async def add_many(connection: AsyncConnection, entries: Sequence[AuditEntry]) -> None:
    """Write these rows; those whose id is known stay as they are. The transaction is scoped to all their shops."""
    rows = sorted((msgspec.structs.asdict(entry) for entry in entries), key=lambda row: (row["shop_id"], row["id"]))
    if rows:
        await connection.execute(insert(audit_log).on_conflict_do_nothing(), rows)


async def listing(
    connection: AsyncConnection,
    *,
    limit: int,
    shop_id: ShopId | None = None,
    actor: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[AuditEntry]:
    """Newest first."""
    c = audit_log.c
    conditions = _span(since, until)
    for column, value in ((c.shop_id, shop_id), (c.actor, actor), (c.action, action)):
        if value is not None:
            conditions.append(column == value)
    query = select(*(c[name] for name in AuditEntry.__struct_fields__)).where(*conditions)
    rows = await connection.execute(query.order_by(c.at.desc(), c.id.desc()).limit(limit))
    return [msgspec.convert(row._asdict(), AuditEntry) for row in rows]


async def report(
    connection: AsyncConnection,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    shop_id: ShopId | None = None,
) -> list[Tally]:
    """Counts by action and actor over [since, until), most frequent first."""
    c = audit_log.c
    conditions = _span(since, until)
    if shop_id is not None:
        conditions.append(c.shop_id == shop_id)
    count = func.count()
    rows = await connection.execute(
        select(c.action, c.actor, count, func.min(c.at), func.max(c.at))
        .where(*conditions)
        .group_by(c.action, c.actor)
        .order_by(count.desc(), c.action, c.actor)
    )
    return [Tally(*row) for row in rows]


async def clean(sweeper: AsyncConnection, *, before: datetime, limit: int) -> int:
    """Drop up to `limit` rows older than this, oldest first; how many."""
    c = audit_log.c
    old = select(c.id).where(c.at < before).order_by(c.at).limit(limit)
    return (await sweeper.execute(delete(audit_log).where(c.id.in_(old), c.at < before))).rowcount


def _span(since: datetime | None, until: datetime | None) -> list[ColumnElement[bool]]:
    c = audit_log.c
    conditions: list[ColumnElement[bool]] = []
    if since is not None:
        conditions.append(c.at >= since)
    if until is not None:
        conditions.append(c.at < until)
    return conditions
