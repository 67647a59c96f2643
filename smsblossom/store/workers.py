"""Heartbeats of processes, by the database's clock: who is alive, and since when nobody was."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from smsblossom.store.tables import workers

_CLOCK = func.clock_timestamp()


async def beat(
    connection: AsyncConnection, worker_id: UUID, *, kind: str, host: str, pid: int, queues: list[str]
) -> None:
    statement = insert(workers).values(
        id=worker_id, kind=kind, host=host, pid=pid, queues=queues, started_at=_CLOCK, heartbeat_at=_CLOCK
    )
    await connection.execute(
        statement.on_conflict_do_update(index_elements=[workers.c.id], set_={"heartbeat_at": _CLOCK})
    )


async def stop(connection: AsyncConnection, worker_id: UUID) -> None:
    """Record a clean stop."""
    await connection.execute(update(workers).where(workers.c.id == worker_id).values(stopped_at=_CLOCK))


async def served_queues(connection: AsyncConnection, *, within: timedelta) -> set[str]:
    """Queues that some live worker serves."""
    w = workers.c
    rows = await connection.execute(
        select(func.unnest(w.queues)).where(w.stopped_at.is_(None), w.heartbeat_at > _CLOCK - within).distinct()
    )
    return set(rows.scalars())


async def silence(connection: AsyncConnection) -> timedelta | None:
    """How long ago the newest heartbeat was, unless a clean stop was recorded after it; None then, or for no row."""
    w = workers.c
    row = (
        await connection.execute(
            select(_CLOCK - func.max(w.heartbeat_at), func.max(w.heartbeat_at), func.max(w.stopped_at))
        )
    ).one()
    since, beat_at, stopped_at = row
    if since is None or (stopped_at is not None and stopped_at >= beat_at):
        return None
    assert isinstance(since, timedelta)
    return since


async def forget_old(sweeper: AsyncConnection, *, older_than: timedelta) -> None:
    """Drop rows of processes long gone, keeping the newest: a restored backup is recognized by it."""
    w = workers.c
    newest = select(func.max(w.heartbeat_at)).scalar_subquery()
    await sweeper.execute(workers.delete().where(w.heartbeat_at < _CLOCK - older_than, w.heartbeat_at < newest))
