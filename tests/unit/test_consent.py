"""What a trail of consent adds up to."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsblossom.domain.consent import ConsentRecord, ConsentState, current_state

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
YES, NO = ConsentState.SUBSCRIBED, ConsentState.UNSUBSCRIBED
RECORDS = st.lists(
    st.builds(
        ConsentRecord,
        st.sampled_from(list(ConsentState)),
        st.integers(0, 3).map(lambda hours: NOON + timedelta(hours=hours)),
    ),
    max_size=8,
)


@pytest.mark.parametrize(
    ("trail", "state"),
    [
        pytest.param([], ConsentState.NOT_SUBSCRIBED, id="nothing was said"),
        pytest.param([(YES, 0)], YES, id="yes"),
        pytest.param([(YES, 0), (NO, 1)], NO, id="then no"),
        pytest.param([(NO, 0), (YES, 1)], YES, id="then yes again"),
        pytest.param([(YES, 1), (NO, 0)], YES, id="an older no comes late"),
        pytest.param([(YES, 0), (NO, 0)], NO, id="a tie goes to the no"),
        pytest.param([(NO, 0), (YES, 0)], NO, id="in any order"),
        pytest.param([(YES, 0), (ConsentState.PENDING, 0)], ConsentState.PENDING, id="pending is no yes"),
        pytest.param([(YES, 0), (ConsentState.REDACTED, 1)], ConsentState.REDACTED, id="redacted"),
    ],
)
def test_the_latest_word_counts(trail: list[tuple[ConsentState, int]], state: ConsentState) -> None:
    assert current_state(ConsentRecord(said, NOON + timedelta(hours=at)) for said, at in trail) is state


@given(RECORDS, st.randoms(use_true_random=False))
def test_the_order_of_arrival_is_nothing(trail: list[ConsentRecord], random: object) -> None:
    shuffled = list(trail)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' own Random
    assert current_state(trail) is current_state(shuffled) is current_state(shuffled + trail)


@given(RECORDS)
def test_a_no_at_the_latest_moment_is_never_outvoted(trail: list[ConsentRecord]) -> None:
    latest = max((record.consented_at for record in trail), default=NOON)
    assert current_state([*trail, ConsentRecord(NO, latest)]) is NO
