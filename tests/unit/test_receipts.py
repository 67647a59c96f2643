"""What a report may do to a message: the whole matrix, written out."""

from itertools import permutations

import pytest

from smsblossom.domain.messages import MessageState
from smsblossom.domain.receipts import ReceiptState, advance

S, R = MessageState, ReceiptState
ENDS = {R.UNDELIVERED: S.UNDELIVERED, R.FAILED: S.FAILED, R.EXPIRED: S.EXPIRED}
ANYTHING = {R.SENT: S.SENT, R.DELIVERED: S.DELIVERED, **ENDS}
MATRIX: dict[MessageState, dict[ReceiptState, MessageState]] = {
    S.PLANNED: {},
    S.HELD: {},
    S.WITHHELD: {},
    S.REFUSED: {},
    S.QUEUED: ANYTHING,  # released after a refusal that was none
    S.SUBMITTING: ANYTHING,
    S.UNKNOWN: ANYTHING,
    S.ACCEPTED: ANYTHING,
    S.SENT: {R.DELIVERED: S.DELIVERED, **ENDS},
    S.UNDELIVERED: {R.DELIVERED: S.DELIVERED},
    S.FAILED: {R.DELIVERED: S.DELIVERED},
    S.EXPIRED: {R.DELIVERED: S.DELIVERED},
    S.DELIVERED: {},
}


@pytest.mark.parametrize("receipt", R)
@pytest.mark.parametrize("current", S)
def test_the_matrix(current: MessageState, receipt: ReceiptState) -> None:
    assert advance(current, receipt) is MATRIX[current].get(receipt)


@pytest.mark.parametrize("order", list(permutations([R.SENT, R.UNDELIVERED, R.DELIVERED])))
def test_delivered_is_the_end_in_any_order_of_arrival(order: tuple[ReceiptState, ...]) -> None:
    state = S.ACCEPTED
    for receipt in order:
        state = advance(state, receipt) or state
    assert state is S.DELIVERED
