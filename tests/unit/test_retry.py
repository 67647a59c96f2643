"""Five waits that double, a little jitter, and a Retry-After that cannot shorten or stretch them at will."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsblossom.domain.retry import LONGEST_IN, delay_after


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def test_the_waits_double_and_end() -> None:
    waits = [delay_after(attempt, jitter=0) for attempt in range(1, 8)]
    assert waits == [seconds(1), seconds(2), seconds(4), seconds(8), seconds(16), None, None]


@pytest.mark.parametrize(
    ("attempt", "retry_after", "expected"),
    [
        pytest.param(1, None, seconds(1), id="none"),
        pytest.param(1, seconds(30), seconds(30), id="longer-is-honoured"),
        pytest.param(3, seconds(1), seconds(4), id="shorter-is-not"),
        pytest.param(1, timedelta(days=9), LONGEST_IN, id="clamped"),
        pytest.param(2, seconds(-5), seconds(2), id="in-the-past"),
        pytest.param(6, seconds(5), None, id="no-further-try"),
    ],
)
def test_retry_after(attempt: int, retry_after: timedelta | None, expected: timedelta | None) -> None:
    assert delay_after(attempt, jitter=0, retry_after=retry_after) == expected


def test_base_and_retries_are_the_callers() -> None:
    assert delay_after(2, jitter=0, base=seconds(10), retries=2) == seconds(20)
    assert delay_after(3, jitter=0, base=seconds(10), retries=2) is None


@given(attempt=st.integers(1, 5), jitter=st.floats(0, 1, exclude_max=True))
def test_jitter_adds_less_than_a_quarter(attempt: int, jitter: float) -> None:
    plain, shaken = delay_after(attempt, jitter=0), delay_after(attempt, jitter=jitter)
    assert plain is not None
    assert shaken is not None
    assert plain <= shaken <= plain * 1.25


def test_jitter_is_felt() -> None:
    assert delay_after(1, jitter=0.5) == seconds(1.125)


@pytest.mark.parametrize(
    ("attempt", "jitter", "named"),
    [(0, 0.0, "attempt"), (-1, 0.0, "attempt"), (1, 1.0, "jitter"), (1, -0.1, "jitter"), (1, float("nan"), "jitter")],
)
def test_what_makes_no_sense_is_refused(attempt: int, jitter: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        delay_after(attempt, jitter=jitter)
