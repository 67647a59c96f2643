"""shop/update: the shop's own words on its zone, country and currency."""

import msgspec

from processors.topics import on_topic
from smsblossom.domain import zones
from smsblossom.domain.events import ShopChanged
from smsblossom.store import shops
from smsblossom.store.inbox import InboxState
from smsblossom.usecases.intake import Intake, Settled


@on_topic("shop/update")
async def shop_update(intake: Intake, event: ShopChanged) -> Settled:
    if event.timezone is not None and not zones.is_zone(event.timezone):
        event = msgspec.structs.replace(event, timezone=None)
    await shops.apply_change(intake.connection, intake.shop.id, event, now=intake.now)
    return Settled(InboxState.PROCESSED, "shop brought up to date")
