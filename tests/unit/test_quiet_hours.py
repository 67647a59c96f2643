"""The next allowed moment is never quiet, never in the past, and minimal, on days of 23, 24 and 25 hours."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsblossom.domain.jurisdictions import TABLE, Jurisdiction, rules_for
from smsblossom.domain.quiet_hours import HoursError, Quiet, Window, is_allowed, next_allowed, why_quiet, zone_of

NEW_YORK, LOS_ANGELES = ZoneInfo("America/New_York"), ZoneInfo("America/Los_Angeles")
LONDON, PARIS, ATHENS = ZoneInfo("Europe/London"), ZoneInfo("Europe/Paris"), ZoneInfo("Europe/Athens")
SYDNEY, LORD_HOWE = ZoneInfo("Australia/Sydney"), ZoneInfo("Australia/Lord_Howe")
PHOENIX, KOLKATA, CAIRO = ZoneInfo("America/Phoenix"), ZoneInfo("Asia/Kolkata"), ZoneInfo("Africa/Cairo")
ZONES = [NEW_YORK, LOS_ANGELES, LONDON, PARIS, ATHENS, SYDNEY, LORD_HOWE, PHOENIX, KOLKATA, CAIRO]
MINUTE = timedelta(minutes=1)


def hours(start: str, end: str) -> Window:
    return Window(time.fromisoformat(start), time.fromisoformat(end))


def every_day(start: str, end: str) -> Jurisdiction:
    window = hours(start, end)
    return Jurisdiction("T", "test", window, window, window, source="test")


def at(text: str, zone: ZoneInfo = NEW_YORK, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


FEDERAL, FLORIDA, TEXAS, ALABAMA = (rules_for("US", state) for state in ("NY", "FL", "TX", "AL"))
FRANCE = rules_for("FR")


# --- windows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "clock", "inside"),
    [
        pytest.param(hours("08:00", "21:00"), "07:59:59.999999", False, id="before"),
        pytest.param(hours("08:00", "21:00"), "08:00", True, id="start-included"),
        pytest.param(hours("08:00", "21:00"), "20:59:59.999999", True, id="last-moment"),
        pytest.param(hours("08:00", "21:00"), "21:00", False, id="end-excluded"),
        pytest.param(hours("22:00", "02:00"), "21:59", False, id="crossing-before"),
        pytest.param(hours("22:00", "02:00"), "22:00", True, id="crossing-start"),
        pytest.param(hours("22:00", "02:00"), "00:00", True, id="crossing-midnight"),
        pytest.param(hours("22:00", "02:00"), "01:59", True, id="crossing-last"),
        pytest.param(hours("22:00", "02:00"), "02:00", False, id="crossing-end"),
        pytest.param(hours("08:00", "00:00"), "23:59", True, id="until-midnight"),
        pytest.param(hours("08:00", "00:00"), "00:00", False, id="until-midnight-excluded"),
    ],
)
def test_a_window_is_half_open(window: Window, clock: str, inside: bool) -> None:
    assert (time.fromisoformat(clock) in window) is inside


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [
        pytest.param(time(8), time(8), "end", id="equal-ends"),
        pytest.param(time(0), time(0), "end", id="equal-midnights"),
        pytest.param(time(8, tzinfo=UTC), time(9), "start", id="start-with-zone"),
        pytest.param(time(8), time(9, tzinfo=UTC), "end", id="end-with-zone"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused_by_field(start: time, end: time, field: str) -> None:
    with pytest.raises(HoursError, match=field) as caught:
        Window(start, end)
    assert caught.value.field == field


@pytest.mark.parametrize("name", ["Mars/Base", "", "America", "../etc/passwd", "Europe/Atl\x00ntis", "/etc/localtime"])
def test_a_zone_that_does_not_exist_is_refused_by_field(name: str) -> None:
    with pytest.raises(HoursError, match="shop_timezone") as caught:
        zone_of(name, field="shop_timezone")
    assert caught.value.field == "shop_timezone"


def test_a_zone_that_exists() -> None:
    assert zone_of("Europe/Athens") == ATHENS


@pytest.mark.parametrize(
    ("now", "zones", "field"),
    [
        pytest.param(datetime(2026, 11, 22, 12), [NEW_YORK], "now", id="naive"),  # noqa: DTZ001
        pytest.param(datetime(2026, 11, 22, 12, tzinfo=UTC), [], "zones", id="no-zone"),
    ],
)
def test_a_question_without_an_answer_is_refused(now: datetime, zones: list[ZoneInfo], field: str) -> None:
    with pytest.raises(HoursError) as caught:
        next_allowed(now, [FEDERAL], zones)
    assert caught.value.field == field


# --- by hand -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "rules", "zones", "shop", "expected"),
    [
        pytest.param(at("2026-11-23T12:00"), [FEDERAL], [NEW_YORK], None, at("2026-11-23T12:00"), id="open-now"),
        pytest.param(
            at("2026-11-23T07:59:59"), [FEDERAL], [NEW_YORK], None, at("2026-11-23T08:00"), id="one-second-early"
        ),
        pytest.param(at("2026-11-23T08:00"), [FEDERAL], [NEW_YORK], None, at("2026-11-23T08:00"), id="on-the-start"),
        pytest.param(
            at("2026-11-23T20:59:59"), [FEDERAL], [NEW_YORK], None, at("2026-11-23T20:59:59"), id="last-second"
        ),
        pytest.param(at("2026-11-23T21:00"), [FEDERAL], [NEW_YORK], None, at("2026-11-24T08:00"), id="on-the-end"),
        pytest.param(
            at("2026-11-23T20:30"),
            [FLORIDA, FEDERAL],
            [NEW_YORK],
            None,
            at("2026-11-24T08:00"),
            id="two-states-the-stricter",
        ),
        pytest.param(
            at("2026-11-23T08:30"),
            [FEDERAL],
            [NEW_YORK, LOS_ANGELES],
            None,
            at("2026-11-23T11:00"),
            id="two-coasts-wait-for-the-west",
        ),
        pytest.param(
            at("2026-11-23T20:00"),
            [FLORIDA],
            [NEW_YORK, LOS_ANGELES],
            None,
            at("2026-11-24T11:00"),
            id="two-coasts-the-east-closes",
        ),
        pytest.param(at("2026-11-21T22:00"), [TEXAS], [NEW_YORK], None, at("2026-11-22T12:00"), id="texas-sunday-noon"),
        pytest.param(
            at("2026-11-21T22:00"), [ALABAMA], [NEW_YORK], None, at("2026-11-23T08:00"), id="alabama-sunday-closed"
        ),
        pytest.param(
            at("2026-11-25T22:00"), [ALABAMA], [NEW_YORK], None, at("2026-11-27T08:00"), id="alabama-thanksgiving"
        ),
        pytest.param(
            at("2026-11-23T08:30"),
            [FEDERAL],
            [NEW_YORK],
            hours("10:00", "18:00"),
            at("2026-11-23T10:00"),
            id="stricter-shop",
        ),
        pytest.param(
            at("2026-11-23T08:30"),
            [FEDERAL],
            [NEW_YORK],
            hours("19:00", "09:00"),
            at("2026-11-23T08:30"),
            id="shop-over-midnight",
        ),
        pytest.param(
            at("2026-11-23T21:30"),
            [FEDERAL],
            [NEW_YORK],
            hours("19:00", "09:00"),
            at("2026-11-24T08:00"),
            id="shop-over-midnight-law-closed",
        ),
        pytest.param(
            at("2026-11-23T09:00"),
            [FEDERAL],
            [NEW_YORK],
            hours("21:00", "07:00"),
            None,
            id="shop-and-law-exclude-each-other",
        ),
        pytest.param(
            at("2026-05-13T21:00", PARIS), [FRANCE], [PARIS], None, at("2026-05-15T08:00", PARIS), id="ascension-day"
        ),
        pytest.param(
            at("2027-05-07T21:00", PARIS),
            [FRANCE],
            [PARIS],
            None,
            at("2027-05-10T08:00", PARIS),
            id="eighth-of-may-on-saturday",
        ),
        pytest.param(
            at("2028-02-28T21:00", ATHENS),
            [rules_for("GR")],
            [ATHENS],
            None,
            at("2028-02-29T09:00", ATHENS),
            id="leap-day",
        ),
        pytest.param(at("2026-11-23T12:00"), [], [NEW_YORK], None, at("2026-11-23T12:00"), id="no-rule-no-window"),
    ],
)
def test_next_allowed(
    now: datetime, rules: list[Jurisdiction], zones: list[ZoneInfo], shop: Window | None, expected: datetime | None
) -> None:
    moment = next_allowed(now, rules, zones, shop_window=shop)
    assert moment == (expected and expected.astimezone(UTC))
    assert moment is None or moment.tzinfo is UTC


@pytest.mark.parametrize(
    ("zone", "now", "rule", "expected"),
    [
        # Spring: New York jumps 2026-03-08 from 02:00 to 03:00, London 2026-03-29 from 01:00 to 02:00.
        pytest.param(
            NEW_YORK, "2026-03-08T01:30-05:00", ("02:30", "05:00"), "2026-03-08T03:00-04:00", id="start-does-not-exist"
        ),
        pytest.param(
            NEW_YORK, "2026-03-08T01:30-05:00", ("02:00", "03:00"), "2026-03-09T02:00-04:00", id="window-does-not-exist"
        ),
        pytest.param(
            NEW_YORK,
            "2026-03-07T22:00-05:00",
            ("08:00", "21:00"),
            "2026-03-08T08:00-04:00",
            id="new-york-night-of-ten-hours",
        ),
        pytest.param(
            LOS_ANGELES, "2026-03-07T22:00-08:00", ("08:00", "21:00"), "2026-03-08T08:00-07:00", id="los-angeles-spring"
        ),
        pytest.param(
            LONDON, "2026-03-29T00:30+00:00", ("01:15", "01:45"), "2026-03-30T01:15+01:00", id="london-window-skipped"
        ),
        pytest.param(PARIS, "2026-03-28T23:00+01:00", ("08:00", "20:00"), "2026-03-29T08:00+02:00", id="paris-spring"),
        pytest.param(
            ATHENS, "2026-03-29T02:59+02:00", ("03:30", "05:00"), "2026-03-29T04:00+03:00", id="athens-start-skipped"
        ),
        pytest.param(
            SYDNEY,
            "2026-10-04T01:30+10:00",
            ("02:30", "05:00"),
            "2026-10-04T03:00+11:00",
            id="sydney-spring-in-october",
        ),
        # Midnight itself does not exist in Cairo on 2026-04-24.
        pytest.param(
            CAIRO, "2026-04-23T22:00+02:00", ("00:00", "06:00"), "2026-04-24T01:00+03:00", id="cairo-without-midnight"
        ),
        # Autumn: New York falls back 2026-11-01 from 02:00 to 01:00, so 01:30 exists twice.
        pytest.param(
            NEW_YORK, "2026-11-01T00:30-04:00", ("01:30", "01:45"), "2026-11-01T01:30-04:00", id="first-of-two"
        ),
        pytest.param(
            NEW_YORK, "2026-11-01T01:45-04:00", ("01:30", "01:45"), "2026-11-01T01:30-05:00", id="second-of-two"
        ),
        pytest.param(
            NEW_YORK,
            "2026-11-01T01:55-04:00",
            ("01:00", "01:50"),
            "2026-11-01T01:00-05:00",
            id="opens-again-with-the-clock",
        ),
        pytest.param(NEW_YORK, "2026-11-01T01:50-05:00", ("01:30", "01:45"), "2026-11-02T01:30-05:00", id="both-over"),
        pytest.param(
            NEW_YORK,
            "2026-10-31T22:00-04:00",
            ("08:00", "21:00"),
            "2026-11-01T08:00-05:00",
            id="new-york-night-of-eleven-hours",
        ),
        pytest.param(PARIS, "2026-10-25T02:59+02:00", ("02:30", "02:50"), "2026-10-25T02:30+01:00", id="paris-autumn"),
        pytest.param(
            LORD_HOWE, "2026-04-05T01:50+11:00", ("01:30", "01:45"), "2026-04-05T01:30+10:30", id="half-hour-change"
        ),
        # No change of the clock.
        pytest.param(PHOENIX, "2026-03-08T01:30-07:00", ("02:30", "05:00"), "2026-03-08T02:30-07:00", id="phoenix"),
        pytest.param(KOLKATA, "2026-03-29T01:00+05:30", ("02:30", "05:00"), "2026-03-29T02:30+05:30", id="kolkata"),
    ],
)
def test_the_clock_changes(zone: ZoneInfo, now: str, rule: tuple[str, str], expected: str) -> None:
    moment = next_allowed(datetime.fromisoformat(now), [every_day(*rule)], [zone])
    assert moment == datetime.fromisoformat(expected)


def test_a_day_that_opens_at_its_midnight() -> None:
    """A window over midnight belongs to the local date, so a closed Sunday ends in the middle of Monday's."""
    nights = hours("22:00", "02:00")
    rule = Jurisdiction("T", "test", nights, nights, None, source="test")
    assert next_allowed(at("2026-11-22T23:00"), [rule], [NEW_YORK]) == at("2026-11-23T00:00").astimezone(UTC)


def test_the_reason_names_rule_zone_and_local_time() -> None:
    now = at("2026-11-23T09:00")
    assert why_quiet(now, [FEDERAL], [NEW_YORK, LOS_ANGELES]) == Quiet(
        "US", "America/Los_Angeles", at("2026-11-23T06:00", LOS_ANGELES)
    )
    shop = why_quiet(now, [FEDERAL], [NEW_YORK], shop_window=hours("10:00", "12:00"))
    assert shop is not None
    assert shop.code == "shop"
    assert why_quiet(now, [FEDERAL], [NEW_YORK]) is None


# --- properties --------------------------------------------------------------------------------------------------

# Half of the moments lie in a year, half within two days of a change of some clock.
CHANGES = [
    date(2026, 3, 8),
    date(2026, 3, 29),
    date(2026, 4, 5),
    date(2026, 4, 24),
    date(2026, 10, 4),
    date(2026, 10, 25),
    date(2026, 10, 29),
    date(2026, 11, 1),
]
SECONDS = st.integers(-2 * 86_400, 2 * 86_400)
MOMENTS = st.builds(
    lambda day, seconds: datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=seconds),
    st.sampled_from(CHANGES) | st.dates(date(2026, 1, 1), date(2027, 12, 31)),
    SECONDS,
)
CLOCKS = st.times().map(lambda clock: clock.replace(second=0, microsecond=0))
WINDOWS = st.tuples(CLOCKS, CLOCKS).filter(lambda ends: ends[0] != ends[1]).map(lambda ends: Window(*ends))
RULES = st.sampled_from(TABLE) | st.builds(
    lambda window: Jurisdiction("T", "test", window, window, window, source="test"), WINDOWS
)


@settings(max_examples=300, deadline=None)
@given(
    now=MOMENTS,
    rules=st.lists(RULES, min_size=1, max_size=2),
    zones=st.lists(st.sampled_from(ZONES), min_size=1, max_size=2),
    shop=st.none() | WINDOWS,
)
def test_never_quiet_never_past_and_minimal(
    now: datetime, rules: list[Jurisdiction], zones: list[ZoneInfo], shop: Window | None
) -> None:
    moment = next_allowed(now, rules, zones, shop_window=shop)
    if moment is not None:
        assert moment >= now
        assert is_allowed(moment, rules, zones, shop_window=shop)
        assert moment == now or not is_allowed(moment - timedelta(microseconds=1), rules, zones, shop_window=shop)
    # Windows start and clocks change on whole minutes, so a look at each minute misses no opening.
    until = min(moment or now + timedelta(days=14), now + timedelta(days=3))
    minute = now
    while minute < until:
        assert not is_allowed(minute, rules, zones, shop_window=shop)
        minute = (minute + MINUTE).replace(second=0, microsecond=0)


@settings(max_examples=200, deadline=None)
@given(now=MOMENTS, rule=RULES, zone=st.sampled_from(ZONES), other=RULES)
def test_another_rule_never_makes_it_earlier(
    now: datetime, rule: Jurisdiction, zone: ZoneInfo, other: Jurisdiction
) -> None:
    alone, both = next_allowed(now, [rule], [zone]), next_allowed(now, [rule, other], [zone])
    assert both is None or (alone is not None and alone <= both)
