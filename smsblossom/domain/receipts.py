"""What a provider's report may do to a message: move it forward, never back."""

from enum import StrEnum
from typing import Final

from smsblossom.domain.messages import MessageState


class ReceiptState(StrEnum):
    """A provider's status word, translated at the seam (`smsblossom.sms`)."""

    SENT = "sent"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    EXPIRED = "expired"
    UNRECOGNIZED = "unrecognized"


_RANK: Final = {
    MessageState.QUEUED: 0,
    MessageState.SUBMITTING: 0,
    MessageState.UNKNOWN: 0,
    MessageState.ACCEPTED: 1,
    MessageState.SENT: 2,
    MessageState.UNDELIVERED: 3,
    MessageState.FAILED: 3,
    MessageState.EXPIRED: 3,
    MessageState.DELIVERED: 4,
}
_BECOMES: Final = {
    ReceiptState.SENT: MessageState.SENT,
    ReceiptState.DELIVERED: MessageState.DELIVERED,
    ReceiptState.UNDELIVERED: MessageState.UNDELIVERED,
    ReceiptState.FAILED: MessageState.FAILED,
    ReceiptState.EXPIRED: MessageState.EXPIRED,
}


def advance(current: MessageState, receipt: ReceiptState) -> MessageState | None:
    """The message's next state, or None when this report is late, repeated or not understood.

    Delivered may correct an earlier failure, since some routes revise their reports; nothing corrects delivered. A
    report for a message whose call is still open is proof that the provider has it.
    """
    target = _BECOMES.get(receipt)
    if target is None or current not in _RANK or _RANK[target] <= _RANK[current]:
        return None
    return target
