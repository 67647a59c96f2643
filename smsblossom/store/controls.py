"""Switches that outlive processes."""

from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from smsblossom.domain.ids import SYSTEM
from smsblossom.store.tables import controls

STOP_ALL: Final = "stop_all"
SENDING_HELD: Final = "sending_held"
BLIND_INDEX_CHECK: Final = "blind_index_check"


async def get(connection: AsyncConnection, name: str) -> str | None:
    c = controls.c
    found = await connection.execute(select(c.value).where(c.shop_id == SYSTEM, c.name == name))
    return found.scalar_one_or_none()


async def is_on(connection: AsyncConnection, name: str) -> bool:
    return await get(connection, name) == "on"


async def put(connection: AsyncConnection, name: str, value: str, *, by: str, now: datetime) -> None:
    """Set a switch. Needs a transaction scoped to the system."""
    statement = insert(controls).values(shop_id=SYSTEM, name=name, value=value, set_at=now, set_by=by)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[controls.c.shop_id, controls.c.name],
            set_={"value": value, "set_at": now, "set_by": by},
        )
    )


async def put_once(connection: AsyncConnection, name: str, value: str, *, by: str, now: datetime) -> str:
    """Set a value that never changes; the one in force, which may be an earlier one."""
    statement = insert(controls).values(shop_id=SYSTEM, name=name, value=value, set_at=now, set_by=by)
    await connection.execute(statement.on_conflict_do_nothing())
    found = await get(connection, name)
    assert found is not None
    return found
