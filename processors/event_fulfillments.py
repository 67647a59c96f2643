"""fulfillments/create and fulfillments/update: a parcel left, moved or arrived."""

from processors.topics import on_topic
from smsblossom.domain import occasions
from smsblossom.domain.events import FulfillmentChanged
from smsblossom.usecases.intake import Intake, Settled, order_basis, start_runs


@on_topic("fulfillments/create", "fulfillments/update")
async def fulfillments_changed(intake: Intake, event: FulfillmentChanged) -> Settled:
    """One text per parcel and status, whichever of the two topics brings it."""
    contact_id, basis = await order_basis(intake, event.order_id)
    occasion = occasions.of_fulfillment(event, base=basis, triggered_at=intake.triggered_at)
    return await start_runs(intake, occasion, contact_id)
