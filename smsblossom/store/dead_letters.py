"""Jobs that used up their tries, kept with what is needed to run them again."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Select, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from smsblossom.domain.ids import ShopId
from smsblossom.store.ids import new_id
from smsblossom.store.tables import dead_letters


class LetterState(StrEnum):
    DEAD = "dead"
    REDRIVING = "redriving"
    """Asked to run again; its job may not be back on the queue yet."""
    REDRIVEN = "redriven"


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
    job_group: str | None = None
    state: LetterState = LetterState.DEAD


class KeptLetter(DeadLetter, frozen=True, kw_only=True):
    """A letter as it lies in the table. `redriven` counts how often it was asked to run again."""

    id: UUID
    redriven: int
    settled_at: datetime | None


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters are meant; every field narrows. Times are of the last failure."""

    queue: str | None = None
    function: str | None = None
    error_type: str | None = None
    shop_id: ShopId | None = None
    failed_before: datetime | None = None
    failed_after: datetime | None = None
    state: LetterState | None = LetterState.DEAD
    redriven_below: int | None = None
    error_type_not_in: tuple[str, ...] = ()


_KEPT = [dead_letters.c[name] for name in KeptLetter.__struct_fields__]
_OF_A_DEATH = ("data", "error_type", "error", "trace", "attempts", "last_failed_at", "state", "job_group")


async def add(connection: AsyncConnection, letter: DeadLetter) -> UUID | None:
    """Keep a dead job; one that dies again updates its letter. None for a death that is known already."""
    values = {**msgspec.structs.asdict(letter), "id": new_id()}
    c = dead_letters.c
    statement = insert(dead_letters).values(values)
    done = await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[c.shop_id, c.queue, c.job_id],
            set_={**{name: values[name] for name in _OF_A_DEATH}, "settled_at": None},
            where=c.last_failed_at < statement.excluded.last_failed_at,
        ).returning(c.id)
    )
    return done.scalar_one_or_none()


async def listing(
    sweeper: AsyncConnection, *, limit: int, offset: int = 0, where: Filter | None = None
) -> list[KeptLetter]:
    """The letters meant, last failed first; those still dead without a filter."""
    c = dead_letters.c
    query = _narrowed(select(*_KEPT), where or Filter()).order_by(c.last_failed_at.desc(), c.id)
    rows = await sweeper.execute(query.limit(limit).offset(offset))
    return [msgspec.convert(row._asdict(), KeptLetter) for row in rows]


async def get(sweeper: AsyncConnection, letter_id: UUID) -> KeptLetter | None:
    row = (await sweeper.execute(select(*_KEPT).where(dead_letters.c.id == letter_id))).one_or_none()
    return None if row is None else msgspec.convert(row._asdict(), KeptLetter)


async def by_job(sweeper: AsyncConnection, job_id: str) -> list[KeptLetter]:
    """A job id is unique within a shop and a queue, so there is seldom more than one."""
    rows = await sweeper.execute(select(*_KEPT).where(dead_letters.c.job_id == job_id).order_by(dead_letters.c.id))
    return [msgspec.convert(row._asdict(), KeptLetter) for row in rows]


async def depths(sweeper: AsyncConnection) -> dict[str, int]:
    """How many letters of each queue are dead and wait for somebody."""
    c = dead_letters.c
    rows = await sweeper.execute(select(c.queue, func.count()).where(c.state == LetterState.DEAD).group_by(c.queue))
    return {row[0]: row[1] for row in rows}


async def begin_redrive(connection: AsyncConnection, shop_id: ShopId, letter_id: UUID, *, now: datetime) -> bool:
    """Mark a dead letter to be run again; False when it is not dead (any more)."""
    c = dead_letters.c
    done = await connection.execute(
        update(dead_letters)
        .where(c.shop_id == shop_id, c.id == letter_id, c.state == LetterState.DEAD)
        .values(state=LetterState.REDRIVING, redriven=c.redriven + 1, settled_at=now)
    )
    return done.rowcount == 1


async def lock_redriving(sweeper: AsyncConnection, *, limit: int) -> list[KeptLetter]:
    """Letters whose job is to go back on its queue, locked until this transaction ends."""
    c = dead_letters.c
    rows = await sweeper.execute(
        select(*_KEPT)
        .where(c.state == LetterState.REDRIVING)
        .order_by(c.last_failed_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [msgspec.convert(row._asdict(), KeptLetter) for row in rows]


async def end_redrive(connection: AsyncConnection, letters: Sequence[KeptLetter]) -> None:
    """Their jobs are back on their queues."""
    if letters:
        c = dead_letters.c
        await connection.execute(
            update(dead_letters)
            .where(c.id.in_([letter.id for letter in letters]), c.state == LetterState.REDRIVING)
            .values(state=LetterState.REDRIVEN)
        )


async def take_expired(sweeper: AsyncConnection, *, failed_before: datetime, limit: int) -> list[KeptLetter]:
    """Delete up to `limit` letters that last failed so long ago, and return them: the caller says so in the audit."""
    c = dead_letters.c
    old = (
        select(c.id)
        .where(c.last_failed_at < failed_before, c.state != LetterState.REDRIVING)
        .order_by(c.last_failed_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = await sweeper.execute(delete(dead_letters).where(c.id.in_(old)).returning(*_KEPT))
    return [msgspec.convert(row._asdict(), KeptLetter) for row in rows]


async def take(sweeper: AsyncConnection, letter_ids: Sequence[UUID]) -> list[KeptLetter]:
    """Delete these letters, but for those being run again, and return them."""
    c = dead_letters.c
    chosen = delete(dead_letters).where(c.id.in_(letter_ids), c.state != LetterState.REDRIVING)
    rows = await sweeper.execute(chosen.returning(*_KEPT))
    return [msgspec.convert(row._asdict(), KeptLetter) for row in rows]


def _narrowed(query: Select[Any], where: Filter) -> Select[Any]:
    c = dead_letters.c
    equal: list[tuple[ColumnElement[Any], object]] = [
        (c.queue, where.queue),
        (c.function, where.function),
        (c.error_type, where.error_type),
        (c.shop_id, where.shop_id),
        (c.state, where.state),
    ]
    conditions = [column == value for column, value in equal if value is not None]
    if where.failed_before is not None:
        conditions.append(c.last_failed_at < where.failed_before)
    if where.failed_after is not None:
        conditions.append(c.last_failed_at >= where.failed_after)
    if where.redriven_below is not None:
        conditions.append(c.redriven < where.redriven_below)
    if where.error_type_not_in:
        conditions.append(c.error_type.not_in(where.error_type_not_in))
    return query.where(*conditions)
