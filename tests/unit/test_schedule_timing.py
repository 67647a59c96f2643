"""When schedules fire: cron across clock changes, intervals, one-off moments, and catching up."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsblossom.domain import schedules
from smsblossom.domain.schedules import CatchUp, Cron, Due, Every, Once, ScheduleError, Timing
from smsblossom.usecases.manage import Refused
from smsblossom.usecases.schedules import timing_of

NEW_YORK, LONDON, SYDNEY = "America/New_York", "Europe/London", "Australia/Sydney"


def ticks(timing: Timing, after: datetime, count: int) -> list[datetime]:
    found: list[datetime] = []
    for _ in range(count):
        tick = schedules.next_after(timing, found[-1] if found else after)
        assert tick is not None
        found.append(tick)
    return found


def walls(timing: Cron, day: str, count: int = 3) -> list[str]:
    """The first ticks from local midnight of `day` on, as that zone's clocks show them."""
    zone = ZoneInfo(timing.timezone)
    midnight = datetime.fromisoformat(day).replace(tzinfo=zone) - timedelta(microseconds=1)
    return [f"{tick.astimezone(zone):%d %H:%M %z}" for tick in ticks(timing, midnight, count)]


@pytest.mark.parametrize(
    ("expression", "zone", "day", "expected"),
    [
        # Clocks go forward: 2026-03-08 in New York, 2026-03-29 in London, 2026-10-04 in Sydney.
        pytest.param(
            "30 2 * * *", NEW_YORK, "2026-03-07",
            ["07 02:30 -0500", "08 03:00 -0400", "09 02:30 -0400"], id="new york skips 02:30: at the change",
        ),
        pytest.param(
            "30 1 * * *", LONDON, "2026-03-28",
            ["28 01:30 +0000", "29 02:00 +0100", "30 01:30 +0100"], id="london skips 01:30: at the change",
        ),
        pytest.param(
            "30 2 * * *", SYDNEY, "2026-10-03",
            ["03 02:30 +1000", "04 03:00 +1100", "05 02:30 +1100"], id="sydney skips 02:30: at the change",
        ),
        pytest.param(
            "0,30 2 * * *", NEW_YORK, "2026-03-08",
            ["08 03:00 -0400", "09 02:00 -0400", "09 02:30 -0400"], id="two skipped times are one tick at the change",
        ),
        pytest.param(
            "0 3 * * *", NEW_YORK, "2026-03-08",
            ["08 03:00 -0400", "09 03:00 -0400", "10 03:00 -0400"], id="the hour after the gap is untouched",
        ),
        pytest.param(
            "30 * * * *", NEW_YORK, "2026-03-08",
            ["08 00:30 -0500", "08 01:30 -0500", "08 03:30 -0400"], id="hourly: the skipped hour is not made up for",
        ),
        # Clocks go back: 2026-11-01 in New York, 2026-10-25 in London, 2026-04-05 in Sydney.
        pytest.param(
            "30 1 * * *", NEW_YORK, "2026-10-31",
            ["31 01:30 -0400", "01 01:30 -0400", "02 01:30 -0500"], id="new york repeats 01:30: once, the first",
        ),
        pytest.param(
            "30 1 * * *", LONDON, "2026-10-24",
            ["24 01:30 +0100", "25 01:30 +0100", "26 01:30 +0000"], id="london repeats 01:30: once, the first",
        ),
        pytest.param(
            "30 2 * * *", SYDNEY, "2026-04-04",
            ["04 02:30 +1100", "05 02:30 +1100", "06 02:30 +1000"], id="sydney repeats 02:30: once, the first",
        ),
        pytest.param(
            "30 * * * *", LONDON, "2026-10-25",
            ["25 00:30 +0100", "25 01:30 +0100", "25 01:30 +0000"], id="hourly: a repeated hour is an hour",
        ),
        pytest.param(
            "0 9 * * MON-FRI", NEW_YORK, "2026-10-30",
            ["30 09:00 -0400", "02 09:00 -0500", "03 09:00 -0500"], id="office hours follow the wall clock",
        ),
    ],
)  # fmt: skip
def test_cron_at_clock_changes(expression: str, zone: str, day: str, expected: list[str]) -> None:
    assert walls(schedules.cron(expression, zone), day) == expected


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param("2026-11-01T05:29:00+00:00", "2026-11-01T05:30:00+00:00", id="before the first pass"),
        pytest.param("2026-11-01T05:30:00+00:00", "2026-11-02T06:30:00+00:00", id="at the first pass"),
        pytest.param("2026-11-01T06:15:00+00:00", "2026-11-02T06:30:00+00:00", id="inside the repeated hour"),
    ],
)
def test_no_tick_lies_before_the_moment_asked_from(after: str, expected: str) -> None:
    timing = schedules.cron("30 1 * * *", NEW_YORK)
    assert schedules.next_after(timing, datetime.fromisoformat(after)) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    ("expression", "zone", "field"),
    [
        pytest.param("", "UTC", "five fields", id="empty"),
        pytest.param("* * * *", "UTC", "five fields", id="four fields"),
        pytest.param("0 0 9 * * *", "UTC", "five fields", id="seconds"),
        pytest.param("@daily", "UTC", "five fields", id="nickname"),
        pytest.param("61 * * * *", "UTC", "bad minute", id="minute"),
        pytest.param("0 24 * * *", "UTC", "bad hour", id="hour"),
        pytest.param("0 0 * JANUARY *", "UTC", "bad month", id="month"),
        pytest.param("0 0 * * 8", "UTC", "bad day-of-week", id="weekday"),
        pytest.param("*/0 * * * *", "UTC", "bad minute", id="step of zero"),
        pytest.param("0 0 30 2 *", "UTC", "bad day-of-month", id="a day that no year has"),
        pytest.param("0 0 * * *", "Mars/Olympus", "no time zone", id="zone"),
        pytest.param("0 0 * * *", "../etc/passwd", "no time zone", id="a path as zone"),
    ],
)
def test_a_malformed_cron_is_refused_with_an_example(expression: str, zone: str, field: str) -> None:
    with pytest.raises(ScheduleError, match=field) as caught:
        schedules.cron(expression, zone)
    assert "for example" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("90s", 90, id="seconds"),
        pytest.param("15m", 900, id="minutes"),
        pytest.param("1h30m", 5400, id="hours and minutes"),
        pytest.param("2d", 172800, id="days"),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    assert schedules.interval_of(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "0s", "15", "-5m", "1.5h", "367d", "5 m", "1m1h", "٣m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError, match=r"every: .* for example"):
        schedules.interval_of(text)


START = datetime(2026, 11, 22, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given_timing", "expected"),
    [
        pytest.param({"cron": "0 9  * * *"}, Cron("0 9 * * *", "UTC"), id="cron"),
        pytest.param({"cron": "0 9 * * *", "timezone": LONDON}, Cron("0 9 * * *", LONDON), id="cron in a zone"),
        pytest.param({"every": "1h"}, Every(timedelta(hours=1), START + timedelta(hours=1)), id="interval"),
        pytest.param({"at": START + timedelta(days=1)}, Once(START + timedelta(days=1)), id="one-off"),
        pytest.param({}, "give one of", id="no timing"),
        pytest.param({"cron": "0 9 * * *", "every": "1h"}, "give one of", id="two timings"),
        pytest.param({"every": "1h", "timezone": LONDON}, "belongs to --cron", id="a zone without cron"),
        pytest.param({"cron": "0 9 * *"}, "five fields", id="malformed cron"),
        pytest.param({"cron": "0 9 * * *", "timezone": "Nowhere"}, "no time zone", id="unknown zone"),
        pytest.param({"every": "soon"}, "no duration", id="malformed interval"),
        pytest.param({"at": START}, "has passed", id="a moment gone by"),
    ],
)
def test_what_an_operator_says_becomes_a_timing_or_a_refusal(given_timing: dict[str, Any], expected: object) -> None:
    nothing = {"cron": None, "timezone": None, "every": None, "at": None}

    def found() -> object:
        return timing_of(**{**nothing, **given_timing}, now=START)

    if isinstance(expected, str):
        with pytest.raises(Refused, match=expected):
            found()
    else:
        assert found() == expected


HOURLY = Every(timedelta(hours=1), START)
DAILY = Cron("0 10 * * *", "UTC")


def hour(n: float) -> datetime:
    return START + timedelta(hours=n)


def due(fire: list[float], then: float | None, *, behind: bool = False) -> Due:
    return Due(tuple(map(hour, fire)), None if then is None else hour(then), is_behind=behind)


@pytest.mark.parametrize(
    ("timing", "policy", "next_at", "now", "expected"),
    [
        pytest.param(HOURLY, CatchUp.ONCE, 1, 0.5, due([], 1), id="not due"),
        pytest.param(HOURLY, CatchUp.SKIP, 1, 1, due([1], 2), id="on time, skip"),
        pytest.param(HOURLY, CatchUp.ONCE, 1, 1, due([1], 2), id="on time, once"),
        pytest.param(HOURLY, CatchUp.ALL, 1, 1, due([1], 2), id="on time, all"),
        pytest.param(HOURLY, CatchUp.SKIP, 1, 3.5, due([], 4, behind=True), id="missed, skip"),
        pytest.param(HOURLY, CatchUp.SKIP, 1, 3, due([3], 4, behind=True), id="missed, skip, the last on time"),
        pytest.param(HOURLY, CatchUp.ONCE, 1, 3.5, due([3], 4, behind=True), id="missed, once"),
        pytest.param(HOURLY, CatchUp.ALL, 1, 3.5, due([1, 2, 3], 4), id="missed, all"),
        pytest.param(
            HOURLY, CatchUp.ALL, 1, 9000.5, due([8998, 8999, 9000], 9001, behind=True), id="a year missed, all: three"
        ),
        pytest.param(Once(hour(1)), CatchUp.ONCE, 1, 5, due([1], None), id="one-off, late"),
        pytest.param(Once(hour(1)), CatchUp.SKIP, 1, 5, due([], None, behind=True), id="one-off, late, skip"),
        pytest.param(
            DAILY, CatchUp.ONCE, 24, 24 * 400 + 1, due([24 * 400], 24 * 401, behind=True), id="a year missed, once"
        ),
    ],
)
def test_catching_up(timing: Timing, policy: CatchUp, next_at: float, now: float, expected: Due) -> None:
    assert schedules.due_ticks(timing, hour(next_at), hour(now), policy=policy, limit=3) == expected


@pytest.mark.parametrize(
    "timing",
    [
        pytest.param(Cron("0 9 * * MON-FRI", NEW_YORK), id="cron"),
        pytest.param(HOURLY, id="interval"),
        pytest.param(Once(START), id="one-off"),
    ],
)
def test_a_timing_survives_its_row(timing: Timing) -> None:
    row = msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(timing)))
    assert msgspec.convert(row, Timing) == timing


moments = st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001  made aware
crons = st.builds(
    lambda minute, hours, zone: Cron(f"{minute} {hours} * * *", zone),
    st.sampled_from(["*/7", "0", "30", "0,30", "59"]),
    st.sampled_from(["*", "*/3", "0", "1,2", "2"]),
    st.sampled_from([NEW_YORK, LONDON, SYDNEY, "Australia/Lord_Howe", "UTC"]),
)
intervals = st.builds(Every, st.timedeltas(timedelta(minutes=20), timedelta(days=3)), moments)


@given(st.one_of(crons, intervals), moments)
def test_ticks_only_go_forward(timing: Timing, after: datetime) -> None:
    found = [after, *ticks(timing, after, 8)]
    assert all(earlier < later for earlier, later in pairwise(found))


@given(st.one_of(crons, intervals), moments, st.timedeltas(timedelta(0), timedelta(hours=30)))
def test_the_next_tick_is_the_same_from_wherever_one_asks(timing: Timing, after: datetime, gap: timedelta) -> None:
    first = schedules.next_after(timing, after)
    assert first is not None
    between = min(after + gap, first - timedelta(microseconds=1))
    assert schedules.next_after(timing, between) == first


@given(
    st.one_of(crons, intervals),
    moments,
    st.lists(st.timedeltas(timedelta(0), timedelta(hours=9)), min_size=1, max_size=12),
    st.sampled_from(CatchUp),
)
def test_however_the_rounds_fall_no_tick_fires_twice_and_all_misses_none(
    timing: Timing, start: datetime, waits: list[timedelta], policy: CatchUp
) -> None:
    next_at, now = schedules.next_after(timing, start), start
    fired: list[datetime] = []
    for wait in waits:
        now += wait
        assert next_at is not None
        due = schedules.due_ticks(timing, next_at, now, policy=policy, limit=100_000)
        fired += due.fire
        next_at = due.next_at
        assert next_at is not None
        assert next_at > now
    assert all(earlier < later for earlier, later in pairwise(fired))
    assert all(start < tick <= now for tick in fired)
    if policy is CatchUp.ALL:
        every = []
        tick = schedules.next_after(timing, start)
        while tick is not None and tick <= now:
            every.append(tick)
            tick = schedules.next_after(timing, tick)
        assert fired == every
