"""Schedules and their ticks. A tick is a row from the moment it fires until its job has ended."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, and_, delete, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from smsblossom.domain.ids import ShopId
from smsblossom.domain.schedules import CatchUp
from smsblossom.store.ids import new_id
from smsblossom.store.tables import schedule_ticks, schedules

_CLOCK = func.clock_timestamp()


class TickState(StrEnum):
    FIRED = "fired"
    """Its job may not be on the queue yet."""
    ADDED = "added"
    DONE = "done"
    STOPPED = "stopped"
    """Its job ended without success by an operator's wish."""
    DEAD = "dead"
    """Its job is a dead letter."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator says of a schedule. `timing` is a `domain.schedules.Timing` as builtins."""

    name: str
    function: str
    arguments: dict[str, Any]
    timing: dict[str, Any]
    catch_up: CatchUp
    next_at: datetime | None


class Schedule(Plan, frozen=True, kw_only=True):
    shop_id: ShopId
    id: UUID
    paused: bool
    last_at: datetime | None


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """One firing. (`shop_id`, `schedule_id`, `tick_at`) is its key."""

    shop_id: ShopId
    schedule_id: UUID
    tick_at: datetime
    name: str
    function: str
    arguments: dict[str, Any]
    state: TickState
    fired_at: datetime

    @property
    def key(self) -> tuple[UUID, UUID, datetime]:
        return self.shop_id, self.schedule_id, self.tick_at


_KEY = tuple_(schedule_ticks.c.shop_id, schedule_ticks.c.schedule_id, schedule_ticks.c.tick_at)
_SCHEDULE = [schedules.c[name] for name in Schedule.__struct_fields__]
_TICK = [schedule_ticks.c[name] for name in Tick.__struct_fields__]


async def add(connection: AsyncConnection, shop_id: ShopId, plan: Plan, *, now: datetime) -> UUID | None:
    """A new schedule; None when the shop has one of this name, which is left alone."""
    statement = insert(schedules).values(
        shop_id=shop_id, id=new_id(), **msgspec.structs.asdict(plan), created_at=now, updated_at=now
    )
    return (await connection.execute(statement.on_conflict_do_nothing().returning(schedules.c.id))).scalar_one_or_none()


async def change(connection: AsyncConnection, shop_id: ShopId, plan: Plan, *, now: datetime) -> UUID | None:
    """Put this plan in the place of the one of its name; None when there is none. Paused stays paused."""
    c = schedules.c
    statement = update(schedules).where(c.shop_id == shop_id, c.name == plan.name)
    done = await connection.execute(statement.values(**msgspec.structs.asdict(plan), updated_at=now).returning(c.id))
    return done.scalar_one_or_none()


async def get(connection: AsyncConnection, shop_id: ShopId, name: str, *, lock: bool = False) -> Schedule | None:
    query = select(*_SCHEDULE).where(schedules.c.shop_id == shop_id, schedules.c.name == name)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else msgspec.convert(row._asdict(), Schedule)


async def listing(connection: AsyncConnection, shop_id: ShopId | None = None) -> list[Schedule]:
    """Of one shop, or of all by the sweeper; those that fire next first."""
    c = schedules.c
    query = select(*_SCHEDULE).order_by(c.next_at.asc().nulls_last(), c.name)
    rows = await connection.execute(query if shop_id is None else query.where(c.shop_id == shop_id))
    return [msgspec.convert(row._asdict(), Schedule) for row in rows]


async def remove(connection: AsyncConnection, shop_id: ShopId, name: str) -> bool:
    """Ticks that have fired stay and run."""
    c = schedules.c
    done = await connection.execute(delete(schedules).where(c.shop_id == shop_id, c.name == name))
    return done.rowcount == 1


async def set_paused(
    connection: AsyncConnection, schedule: Schedule, *, paused: bool, next_at: datetime | None, now: datetime
) -> None:
    c = schedules.c
    await connection.execute(
        update(schedules)
        .where(c.shop_id == schedule.shop_id, c.id == schedule.id)
        .values(paused=paused, next_at=next_at, updated_at=now)
    )


async def lock_due(sweeper: AsyncConnection, *, now: datetime, limit: int) -> list[Schedule]:
    """Schedules whose tick has come, locked until this transaction ends; those another scheduler holds are left out."""
    c = schedules.c
    rows = await sweeper.execute(
        select(*_SCHEDULE)
        .where(c.next_at <= now, c.paused.is_(False))
        .order_by(c.next_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [msgspec.convert(row._asdict(), Schedule) for row in rows]


async def advance(
    connection: AsyncConnection, schedule: Schedule, *, next_at: datetime | None, last_at: datetime | None
) -> None:
    """Move a locked schedule to its next tick."""
    c = schedules.c
    await connection.execute(
        update(schedules)
        .where(c.shop_id == schedule.shop_id, c.id == schedule.id)
        .values(next_at=next_at, last_at=last_at or schedule.last_at)
    )


async def fire(connection: AsyncConnection, schedule: Schedule, ticks: Sequence[datetime], *, now: datetime) -> int:
    """Write these ticks; one that has fired before stays as it is. How many are new."""
    if not ticks:
        return 0
    rows = [
        {
            "shop_id": schedule.shop_id,
            "schedule_id": schedule.id,
            "tick_at": tick,
            "name": schedule.name,
            "function": schedule.function,
            "arguments": schedule.arguments,
            "fired_at": now,
        }
        for tick in ticks
    ]
    statement = insert(schedule_ticks).values(rows).on_conflict_do_nothing().returning(schedule_ticks.c.tick_at)
    return len((await connection.execute(statement)).all())


async def lock_open_ticks(sweeper: AsyncConnection, *, again_after: timedelta, limit: int) -> list[Tick]:
    """Ticks whose job is to be added, or was last looked at so long ago; locked until this transaction ends.

    `again_after` is by the database's clock: how long Redis keeps a result does not follow business time either.
    """
    c = schedule_ticks.c
    waiting = c.state == TickState.FIRED
    unseen = (c.state == TickState.ADDED) & or_(c.looked_at.is_(None), c.looked_at < _CLOCK - again_after)
    rows = await sweeper.execute(
        select(*_TICK).where(or_(waiting, unseen)).order_by(c.fired_at).limit(limit).with_for_update(skip_locked=True)
    )
    return [msgspec.convert(row._asdict(), Tick) for row in rows]


async def mark_added(sweeper: AsyncConnection, ticks: Sequence[Tick]) -> None:
    """Their jobs are known to the queue at this moment."""
    if ticks:
        await sweeper.execute(
            update(schedule_ticks)
            .where(_KEY.in_([tick.key for tick in ticks]))
            .values(state=TickState.ADDED, looked_at=_CLOCK)
        )


async def end_tick(
    connection: AsyncConnection, key: tuple[UUID, UUID, datetime], state: TickState, *, now: datetime
) -> bool:
    """End a tick that was under way; False when it was not."""
    c = schedule_ticks.c
    done = await connection.execute(
        update(schedule_ticks)
        .where(_of(key), c.state.in_([TickState.FIRED, TickState.ADDED]))
        .values(state=state, ended_at=now)
    )
    return done.rowcount == 1


async def revive_tick(connection: AsyncConnection, key: tuple[UUID, UUID, datetime]) -> bool:
    """A dead tick is under way again: its letter puts the job back."""
    c = schedule_ticks.c
    done = await connection.execute(
        update(schedule_ticks)
        .where(_of(key), c.state == TickState.DEAD)
        .values(state=TickState.ADDED, looked_at=_CLOCK, ended_at=None)
    )
    return done.rowcount == 1


async def lock_tick(sweeper: AsyncConnection, key: tuple[UUID, UUID, datetime]) -> None:
    """Until this transaction ends no scheduler adds this tick's job."""
    await sweeper.execute(select(schedule_ticks.c.state).where(_of(key)).with_for_update())


async def ticks_of(connection: AsyncConnection, shop_id: ShopId, schedule_id: UUID, *, limit: int) -> list[Tick]:
    """Newest first."""
    c = schedule_ticks.c
    rows = await connection.execute(
        select(*_TICK).where(c.shop_id == shop_id, c.schedule_id == schedule_id).order_by(c.tick_at.desc()).limit(limit)
    )
    return [msgspec.convert(row._asdict(), Tick) for row in rows]


async def forget_ticks(sweeper: AsyncConnection, *, ended_before: datetime, limit: int) -> int:
    """Drop up to `limit` ticks that ended so long ago; how many."""
    c = schedule_ticks.c
    old = select(c.shop_id, c.schedule_id, c.tick_at).where(c.ended_at < ended_before).limit(limit)
    done = await sweeper.execute(delete(schedule_ticks).where(_KEY.in_(old)))
    return done.rowcount


def _of(key: tuple[UUID, UUID, datetime]) -> ColumnElement[bool]:
    c = schedule_ticks.c
    return and_(c.shop_id == key[0], c.schedule_id == key[1], c.tick_at == key[2])
