"""What an SMS provider is to us. Six real APIs fit: Mitto (both), Twilio, Bird, Vonage, Infobip, Sinch."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

import msgspec

from smsblossom.domain.encoding import Encoding
from smsblossom.domain.receipts import ReceiptState


class ErrorClass(StrEnum):
    """What an error means for the text and for the account."""

    THROTTLED = "throttled"
    TRANSIENT = "transient"
    """Proven not submitted; another try is safe."""
    AMBIGUOUS = "ambiguous"
    PERMANENT_RECIPIENT = "permanent_recipient"
    PERMANENT_CONTENT = "permanent_content"
    SENDER_CONFIG = "sender_config"
    ACCOUNT = "account"

    @property
    def may_try_again(self) -> bool:
        return self in {ErrorClass.THROTTLED, ErrorClass.TRANSIENT, ErrorClass.ACCOUNT}


class Outbound(msgspec.Struct, frozen=True):
    """One text to submit. `reference` comes back in reports."""

    reference: str
    to: str
    sender: str
    text: str
    encoding: Encoding
    validity: timedelta

    def __repr__(self) -> str:
        return f"Outbound(reference={self.reference!r})"


class Accepted(msgspec.Struct, frozen=True):
    provider_id: str


class Refused(msgspec.Struct, frozen=True):
    """Proven not accepted."""

    error: ErrorClass
    code: str
    retry_after: timedelta | None = None


class Unknown(msgspec.Struct, frozen=True):
    """Nobody can say whether it was accepted. Never resent; settled by a report or a look-up."""

    code: str


Outcome = Accepted | Refused | Unknown


class Receipt(msgspec.Struct, frozen=True):
    reference: str | None
    provider_id: str | None
    state: ReceiptState
    code: str | None
    happened_at: datetime | None


class Inbound(msgspec.Struct, frozen=True):
    provider_id: str | None
    sender: str
    to: str
    text: str
    happened_at: datetime | None

    def __repr__(self) -> str:
        return "Inbound(…)"


class Capabilities(msgspec.Struct, frozen=True):
    bulk_max: int
    bulk_personalised: bool
    client_reference: bool
    poll_status: bool
    signed_callbacks: bool


class Provider(Protocol):
    """Submits texts. Never raises for what a provider may do: every text gets its outcome, in the order given."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def send(self, texts: Sequence[Outbound]) -> list[Outcome]: ...


class Callback(msgspec.Struct, frozen=True):
    """A provider's request to us, as it came: parsed later, by the provider's own words."""

    method: str
    query: Mapping[str, str]
    content_type: str
    body: bytes
