"""The message ledger's words: classes, states, and which state may follow which."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from smsblossom.domain.ids import ShopId


class MessageClass(StrEnum):
    """What a text is for, which says what it may pass (see `sending`)."""

    TRANSACTIONAL_URGENT = "transactional_urgent"
    """The person waits for it: order confirmation, payment. Passes quiet hours and caps."""
    TRANSACTIONAL = "transactional"
    """About an order, but it can wait for morning: shipping updates. Passes caps."""
    PROMOTIONAL = "promotional"
    """Everything that sells. Passes nothing."""
    KEYWORD_REPLY = "keyword_reply"
    """The one answer to STOP, START or HELP."""


class MessageState(StrEnum):
    PLANNED = "planned"
    QUEUED = "queued"
    SUBMITTING = "submitting"
    ACCEPTED = "accepted"
    SENT = "sent"
    DELIVERED = "delivered"
    WITHHELD = "withheld"
    REFUSED = "refused"
    FAILED = "failed"
    UNDELIVERED = "undelivered"
    EXPIRED = "expired"
    HELD = "held"
    UNKNOWN = "unknown"


_S = MessageState

FOLLOWS: Final[dict[MessageState, frozenset[MessageState]]] = {
    _S.PLANNED: frozenset({_S.QUEUED, _S.HELD, _S.WITHHELD, _S.EXPIRED}),
    _S.HELD: frozenset({_S.QUEUED, _S.HELD, _S.WITHHELD, _S.EXPIRED}),
    _S.QUEUED: frozenset({_S.SUBMITTING, _S.HELD, _S.WITHHELD, _S.EXPIRED}),
    # Back to queued only by the claim's own holder, after a proven non-submission.
    _S.SUBMITTING: frozenset({_S.QUEUED, _S.ACCEPTED, _S.REFUSED, _S.FAILED, _S.UNKNOWN}),
    _S.ACCEPTED: frozenset(),
    _S.SENT: frozenset(),
    _S.DELIVERED: frozenset(),
    _S.UNDELIVERED: frozenset(),
    _S.UNKNOWN: frozenset({_S.ACCEPTED}),
    _S.WITHHELD: frozenset(),
    _S.REFUSED: frozenset(),
    _S.FAILED: frozenset(),
    _S.EXPIRED: frozenset(),
}
"""The moves our own work makes. What receipts may move is `receipts.advance`."""

COUNTS_AS_SENT: Final = frozenset(
    {_S.QUEUED, _S.SUBMITTING, _S.ACCEPTED, _S.SENT, _S.DELIVERED, _S.UNDELIVERED, _S.EXPIRED, _S.UNKNOWN}
)
"""States that use up a frequency cap: a refusal frees its slot, an `unknown` keeps it."""


class Source(StrEnum):
    AUTOMATION = "automation"
    CAMPAIGN = "campaign"
    REPLY = "reply"


@dataclass(frozen=True, slots=True)
class BusinessKey:
    """What makes a text one text. The ledger holds each key at most once (unique index)."""

    shop_id: ShopId
    source: Source
    source_id: str
    subject: str
    step: int
    phone_index: bytes
    resend_no: int = 0
