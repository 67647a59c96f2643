"""Orders that changed otherwise: kept up to date, no automation waits for them yet."""

from processors.topics import on_topic
from smsblossom.domain.events import OrderChanged
from smsblossom.store.inbox import InboxState
from smsblossom.usecases.intake import Intake, Settled, record_order


@on_topic("orders/updated", "orders/cancelled", "orders/fulfilled", "orders/partially_fulfilled")
async def orders_updated(intake: Intake, event: OrderChanged) -> Settled:
    await record_order(intake, event.order)
    return Settled(InboxState.PROCESSED, "order recorded; no automation has this trigger")
