"""customers_marketing_consent/update: since API 2025-01 the only webhook that tells of consent."""

from processors.topics import on_topic
from smsblossom.domain.events import ConsentChanged, Customer
from smsblossom.store.inbox import InboxState
from smsblossom.usecases.intake import Intake, Settled, phone_index, record_consent, record_contact


@on_topic("customers_marketing_consent/update")
async def consent_changed(intake: Intake, event: ConsentChanged) -> Settled:
    customer = Customer(event.customer_id, None, event.phone, None, None, None)
    contact_id = await record_contact(intake, customer, address=None, source="consent", updated_at=None)
    if event.consent is None or contact_id is None:
        return Settled(InboxState.PROCESSED, "no consent in the body")
    await record_consent(intake, contact_id, phone_index(intake, event.phone), event.consent, said_at=None)
    return Settled(InboxState.PROCESSED, "consent recorded")
