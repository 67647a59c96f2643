"""customers/create and customers/update: who they are, and their consent where an older API version still says it."""

from processors.topics import on_topic
from smsblossom.domain.events import CustomerChanged
from smsblossom.store.inbox import InboxState
from smsblossom.usecases.intake import Intake, Settled, record_contact


@on_topic("customers/create", "customers/update")
async def customers_changed(intake: Intake, event: CustomerChanged) -> Settled:
    customer = event.customer
    await record_contact(intake, customer, address=customer.address, source="customer", updated_at=customer.updated_at)
    consent = "consent recorded" if customer.sms_consent else "no consent in the body"
    return Settled(InboxState.PROCESSED, consent)
