"""orders/paid: the money for an order arrived."""

from processors.topics import on_topic
from smsblossom.domain import occasions
from smsblossom.domain.automations import Trigger
from smsblossom.domain.events import OrderChanged
from smsblossom.usecases.intake import Intake, Settled, record_order, start_runs


@on_topic("orders/paid")
async def orders_paid(intake: Intake, event: OrderChanged) -> Settled:
    contact_id = await record_order(intake, event.order, paid=True)
    occasion = occasions.of_order(Trigger.ORDER_PAID, event.order, triggered_at=intake.triggered_at)
    return await start_runs(intake, occasion, contact_id)
