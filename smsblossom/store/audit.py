"""The audit log, append-only: who did what to which entity."""

from datetime import datetime
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from smsblossom.domain.ids import ShopId
from smsblossom.store.ids import new_id
from smsblossom.store.tables import audit_log


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
    await connection.execute(
        insert(audit_log).values(
            shop_id=shop_id,
            id=new_id(),
            actor=actor,
            action=action,
            entity=entity,
            ip=ip,
            request_id=request_id,
            details=details or {},
            at=now,
        )
    )
