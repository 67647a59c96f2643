"""The consent ledger, append-only, and suppressions by blind index, which never expire."""

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from smsblossom.domain.consent import ConsentKind, ConsentState, OptInLevel
from smsblossom.domain.ids import ContactId, ShopId
from smsblossom.store.ids import new_id
from smsblossom.store.tables import consent_events, suppressions


class ConsentEntry(msgspec.Struct, frozen=True, kw_only=True):
    contact_id: ContactId | None
    phone_index: bytes | None
    kind: ConsentKind
    state: ConsentState
    level: OptInLevel | None
    source: str
    consented_at: datetime
    recorded_at: datetime
    webhook_event_id: UUID | None = None
    actor: str | None = None


async def add(connection: AsyncConnection, shop_id: ShopId, entry: ConsentEntry) -> None:
    """Append to the trail; the same webhook appends once, however often it is processed."""
    values = {"shop_id": shop_id, "id": new_id(), **msgspec.structs.asdict(entry)}
    await connection.execute(insert(consent_events).values(values).on_conflict_do_nothing())


async def suppress(
    connection: AsyncConnection, shop_id: ShopId, phone_index: bytes, *, reason: str, at: datetime
) -> None:
    """Never text this number again for this shop, until it says START itself. The latest word counts."""
    statement = insert(suppressions).values(
        shop_id=shop_id, phone_index=phone_index, reason=reason, suppressed_at=at, lifted_at=None
    )
    newest = {"reason": reason, "suppressed_at": at, "lifted_at": None}
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[suppressions.c.shop_id, suppressions.c.phone_index],
            set_=newest,
            where=func.coalesce(suppressions.c.lifted_at, suppressions.c.suppressed_at) <= at,
        )
    )


async def lift(connection: AsyncConnection, shop_id: ShopId, phone_index: bytes, *, at: datetime) -> bool:
    """The person asked to be texted again; False when nothing was suppressed, or was suppressed later than this."""
    c = suppressions.c
    done = await connection.execute(
        update(suppressions)
        .where(c.shop_id == shop_id, c.phone_index == phone_index, c.lifted_at.is_(None), c.suppressed_at < at)
        .values(lifted_at=at)
    )
    return done.rowcount == 1
