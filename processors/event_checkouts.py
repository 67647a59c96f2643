"""checkouts/*: read, so that a broken body is seen; no automation has this trigger."""

from processors.topics import on_topic
from smsblossom.domain.events import CheckoutChanged
from smsblossom.store.inbox import InboxState
from smsblossom.usecases.intake import Intake, Settled


@on_topic("checkouts/create", "checkouts/update")
async def checkouts_changed(_intake: Intake, _event: CheckoutChanged) -> Settled:
    return Settled(InboxState.IGNORED, "no automation has this trigger")
