"""fulfillment_events/create: a carrier's scan. Its status also arrives by fulfillments/update, which is texted."""

from processors.topics import on_topic
from smsblossom.domain.events import ShipmentEvent
from smsblossom.store.inbox import InboxState
from smsblossom.usecases.intake import Intake, Settled


@on_topic("fulfillment_events/create")
async def shipment_event(_intake: Intake, _event: ShipmentEvent) -> Settled:
    return Settled(InboxState.IGNORED, "fulfillments/update brings the same status")
