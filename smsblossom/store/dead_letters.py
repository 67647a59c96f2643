"""Jobs that used up their tries, kept with what is needed to run them again."""

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from smsblossom.domain.ids import ShopId
from smsblossom.store.ids import new_id
from smsblossom.store.tables import dead_letters


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    shop_id: ShopId
    queue: str
    function: str
    job_id: str
    data: bytes
    error_type: str
    error: str
    trace: str | None
    attempts: int
    request_id: str | None
    first_failed_at: datetime
    last_failed_at: datetime


async def add(connection: AsyncConnection, letter: DeadLetter) -> UUID:
    """Keep a dead job; one that dies again updates its letter."""
    values = {**msgspec.structs.asdict(letter), "id": new_id(), "state": "dead"}
    c = dead_letters.c
    fresh = {
        name: values[name] for name in ("data", "error_type", "error", "trace", "attempts", "last_failed_at", "state")
    }
    statement = insert(dead_letters).values(values)
    done = await connection.execute(
        statement.on_conflict_do_update(index_elements=[c.shop_id, c.queue, c.job_id], set_=fresh).returning(c.id)
    )
    return done.scalar_one()


async def listing(sweeper: AsyncConnection, *, limit: int) -> list[DeadLetter]:
    c = dead_letters.c
    columns = [c[name] for name in DeadLetter.__struct_fields__]
    rows = await sweeper.execute(
        select(*columns).where(c.state == "dead").order_by(c.last_failed_at.desc()).limit(limit)
    )
    return [msgspec.convert(row._asdict(), DeadLetter) for row in rows]
