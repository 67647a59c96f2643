"""Rates, durations and alerts from counters: pure arithmetic."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsblossom.queue.control import QueueStats
from smsblossom.queue.metrics_board import Family, Sample
from smsblossom.usecases import figures
from smsblossom.usecases.alerts import Thresholds, alerts_of
from smsblossom.usecases.figures import JobCounts, Reading, Readings

BOUNDS = (0.01, 0.1, 1.0, math.inf)


def cumulative(*counts: int) -> dict[float, float]:
    return {bound: float(sum(counts[: n + 1])) for n, bound in enumerate(BOUNDS)}


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        pytest.param((0, 0, 0, 0), 0.95, None, id="nothing ran"),
        pytest.param((100, 0, 0, 0), 0.95, 0.0095, id="within the first bucket"),
        pytest.param((90, 10, 0, 0), 0.95, 0.055, id="half way through the second"),
        pytest.param((0, 0, 100, 0), 0.5, 0.55, id="half way through the third"),
        pytest.param((0, 0, 1, 99), 0.95, 1.0, id="open-ended: the last bound"),
    ],
)
def test_quantiles_are_interpolated(counts: tuple[int, ...], share: float, expected: float | None) -> None:
    assert figures.quantile(cumulative(*counts), share) == (None if expected is None else pytest.approx(expected))


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_that_holds_the_observation(seen: list[float], share: float) -> None:
    buckets = {bound: float(sum(value <= bound for value in seen)) for bound in BOUNDS}
    true = sorted(seen)[max(0, math.ceil(len(seen) * share - 1e-9) - 1)]
    upper = next(bound for bound in BOUNDS if true <= bound)
    lower = max((bound for bound in BOUNDS if bound < upper), default=0.0)
    found = figures.quantile(buckets, share)
    assert found is not None
    assert lower - 1e-9 <= found <= upper + 1e-9


def family(outcomes: dict[str, float], statuses: dict[str, float]) -> list[Family]:
    jobs = [
        Sample("smsblossom_jobs_total", (("function", f), ("outcome", outcome), ("queue", "events")), value)
        for outcome, value in outcomes.items()
        for f in ("a", "b")
    ]
    requests = [
        Sample("smsblossom_http_requests_total", (("area", "api"), ("status", status)), value)
        for status, value in statuses.items()
    ]
    return [Family("jobs", "counter", "", jobs), Family("requests", "counter", "", requests)]


def test_a_reading_adds_up_functions_and_tells_errors_from_answers() -> None:
    reading = figures.reading(family({"succeeded": 3, "dead": 1, "retried": 9}, {"200": 5, "404": 2, "503": 4}), at=1)
    events = reading.queues["events"]
    assert (events.ended, events.success_rate) == (8, 0.75)
    assert (reading.requests, reading.errors) == (11, 4)
    assert reading.queues["delivery"].success_rate is None


def test_a_counter_that_fell_counts_as_nothing() -> None:
    before, after = JobCounts({"succeeded": 9}), JobCounts({"succeeded": 4})
    assert figures.between(before, after).ended == 0


def at(second: float) -> Reading:
    return Reading(second, {}, 0, 0)


@pytest.mark.parametrize(
    ("taken", "now", "expected"),
    [
        pytest.param((), 5, 5, id="none yet"),
        pytest.param((1, 2), 3, 1, id="soon after the start"),
        pytest.param((0, 20, 40, 60, 80, 100), 100, 40, id="a minute ago"),
        pytest.param((0, 500), 500, 0, id="after a gap"),
    ],
)
def test_rates_look_back_a_minute(taken: tuple[float, ...], now: float, expected: float) -> None:
    readings = Readings()
    for second in taken:
        readings.add(at(second))
    assert readings.before(at(now)).at == expected


def stats(**counts: int) -> QueueStats:
    zero = dict.fromkeys(("waiting", "active", "delayed", "completed", "failed", "dead"), 0)
    oldest = timedelta(seconds=counts.pop("oldest_s", 0))
    return QueueStats(
        queue="events", is_paused=False, oldest=oldest, totals={}, workers=[], last_heartbeat_at=None,
        parked_groups=0, **{**zero, **counts},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param({}, [], id="quiet"),
        pytest.param({"waiting": 1000, "failed": 60, "dead": 40, "oldest_s": 60}, [], id="at the thresholds"),
        pytest.param({"waiting": 1001}, ["waiting"], id="too many wait"),
        pytest.param({"failed": 61, "dead": 40}, ["failed"], id="too many fail"),
        pytest.param({"oldest_s": 61}, ["oldest"], id="one waits too long"),
        pytest.param({"waiting": 1001, "failed": 101, "oldest_s": 61}, ["waiting", "failed", "oldest"], id="all"),
    ],
)
def test_alerts_are_raised_above_the_thresholds(counts: dict[str, int], expected: list[str]) -> None:
    thresholds = Thresholds(waiting=1000, failed=100, oldest=timedelta(seconds=60))
    assert [alert.alert for alert in alerts_of([stats(**counts)], thresholds)] == expected
