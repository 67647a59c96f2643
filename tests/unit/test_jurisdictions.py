"""Every window of every row, written down a second time by hand and tried on both sides of both edges."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from smsblossom.domain import jurisdictions
from smsblossom.domain.jurisdictions import TABLE, VERSION, Jurisdiction, holidays_of, prepare, rules_for
from smsblossom.domain.quiet_hours import Window, is_allowed

ZONE = ZoneInfo("America/New_York")
TICK = timedelta(microseconds=1)
CLOSED = None
Hours = tuple[int, int] | None

# An ordinary week: Wednesday, Saturday, Sunday. No calendar has a holiday in it.
WEDNESDAY, SATURDAY, SUNDAY = date(2026, 9, 16), date(2026, 9, 19), date(2026, 9, 20)
CHRISTMAS = date(2026, 12, 25)  # a Friday

# code, Wednesday, Saturday, Sunday, Christmas (a Friday), cap per rolling 24 h
HAND = [
    ("US", (8, 21), (8, 21), (8, 21), (8, 21), None),
    ("US-unknown", (10, 17), (10, 17), CLOSED, CLOSED, 3),
    ("US-AL", (8, 20), (8, 20), CLOSED, CLOSED, None),
    ("US-CA", (9, 21), (9, 21), (9, 21), (9, 21), None),
    ("US-CT", (9, 20), (9, 20), (9, 20), (9, 20), None),
    ("US-FL", (8, 20), (8, 20), (8, 20), (8, 20), 3),
    ("US-IL", (9, 21), (9, 21), (9, 21), (9, 21), None),
    ("US-KY", (10, 21), (10, 21), (10, 21), (10, 21), None),
    ("US-LA", (8, 20), (8, 20), CLOSED, CLOSED, None),
    ("US-MA", (8, 20), (8, 20), (8, 20), (8, 20), None),
    ("US-MD", (8, 20), (8, 20), (8, 20), (8, 20), 3),
    ("US-MI", (9, 21), (9, 21), (9, 21), (9, 21), None),
    ("US-MN", (9, 21), (9, 21), (9, 21), (9, 21), None),
    ("US-MS", (8, 20), (8, 20), CLOSED, (8, 20), None),
    ("US-NJ", (8, 20), (8, 20), (8, 20), (8, 20), None),
    ("US-NM", (9, 21), (9, 21), (9, 21), (9, 21), None),
    ("US-NV", (9, 20), (9, 20), (9, 20), (9, 20), None),
    ("US-OK", (8, 20), (8, 20), (8, 20), (8, 20), 3),
    ("US-PA", (8, 21), (10, 17), CLOSED, CLOSED, None),
    ("US-RI", (9, 18), (10, 17), CLOSED, CLOSED, None),
    ("US-TX", (9, 21), (9, 21), (12, 21), (9, 21), None),
    ("US-WA", (8, 20), (8, 20), (8, 20), (8, 20), None),
    ("CA", (9, 21), (10, 18), (10, 18), (9, 21), None),
    ("GB", (8, 21), (8, 21), (8, 21), (8, 21), None),
    ("FR", (8, 20), (10, 18), CLOSED, CLOSED, None),
    ("DE", (9, 20), (9, 20), (9, 20), (9, 20), None),
    ("IT", (8, 22), (8, 22), CLOSED, (8, 22), None),
    ("GR", (9, 20), (9, 20), (9, 20), (9, 20), None),
    ("ES", (9, 20), (9, 20), (9, 20), (9, 20), None),
    ("AU", (9, 20), (9, 17), CLOSED, CLOSED, None),
    ("ZZ", (9, 20), (9, 20), CLOSED, (9, 20), None),
]
BY_CODE = {row.code: row for row in TABLE}


def differences(row: Jurisdiction, day: date, expected: Hours) -> list[datetime]:
    """The moments at which the row disagrees with the hand: both sides of both edges, noon and midnight."""
    midnight = datetime.combine(day, time.min, ZONE)
    moments = {midnight: False, midnight + timedelta(hours=23, minutes=59): False}
    if expected is None:
        moments |= {midnight + timedelta(hours=n): False for n in range(24)}
    else:
        start, end = (midnight + timedelta(hours=n) for n in expected)
        moments |= {start - TICK: False, start: True, end - TICK: True, end: False}
    return [moment for moment, allowed in moments.items() if is_allowed(moment, [row], [ZONE]) is not allowed]


def cells() -> list[tuple[str, date, Hours]]:
    return [
        (code, day, hours)
        for code, *windows, _ in HAND
        for day, hours in zip((WEDNESDAY, SATURDAY, SUNDAY, CHRISTMAS), windows, strict=True)
    ]


@pytest.mark.parametrize(
    ("code", "day", "hours"), [pytest.param(*cell, id=f"{cell[0]}-{cell[1]:%a-%d%b}") for cell in cells()]
)
def test_both_sides_of_every_edge(code: str, day: date, hours: Hours) -> None:
    assert differences(BY_CODE[code], day, hours) == []


def test_every_row_is_written_down_by_hand() -> None:
    assert {row.code for row in TABLE} == {code for code, *_ in HAND}
    assert len(BY_CODE) == len(TABLE)
    assert {code: cap for code, *_, cap in HAND} == {row.code: row.cap_per_24h for row in TABLE}


def shifted(window: Window | None) -> list[Window]:
    if window is None:
        return [Window(time(12), time(13))]
    starts = [Window(time(window.start.hour + by), window.end) for by in (-1, 1)]
    return starts + [Window(window.start, time(window.end.hour + by)) for by in (-1, 1)]


def test_the_hand_table_notices_any_window_shifted_by_an_hour() -> None:
    for row in TABLE:
        mine = [(day, hours) for code, day, hours in cells() if code == row.code]
        wrong = [replace(row, weekday=window) for window in shifted(row.weekday)]
        wrong += [replace(row, saturday=window) for window in shifted(row.saturday)]
        wrong += [replace(row, sunday=window) for window in shifted(row.sunday)]
        for mistake in wrong:
            assert any(differences(mistake, day, hours) for day, hours in mine), mistake


def test_the_row_of_an_unknown_state_is_inside_every_state_row_on_every_day_of_two_years() -> None:
    unknown = rules_for("US")
    states = [row for row in TABLE if row.code.startswith("US")]
    for day in (date(2026, 1, 1) + timedelta(days=n) for n in range(730)):
        narrow = unknown.window_on(day)
        if narrow is None:
            continue
        for row in states:
            wide = row.window_on(day)
            assert wide is not None, row.code
            assert wide.start <= narrow.start, row.code
            assert narrow.end <= wide.end, row.code


# --- which row ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("country", "state", "code"),
    [
        pytest.param("US", "TX", "US-TX", id="state-with-a-row"),
        pytest.param("us", "tx", "US-TX", id="lower-case"),
        pytest.param("US", "US-TX", "US-TX", id="iso-3166-2"),
        pytest.param("US", "NY", "US", id="state-without-a-row"),
        pytest.param("US", "PR", "US", id="territory-as-state"),
        pytest.param("PR", None, "US", id="territory-as-country"),
        pytest.param("US", None, "US-unknown", id="no-state"),
        pytest.param("US", "", "US-unknown", id="empty-state"),
        pytest.param("US", "XX", "US-unknown", id="no-such-state"),
        pytest.param("US", "AP", "US-unknown", id="armed-forces-are-anywhere"),
        pytest.param("US", "unknown", "US-unknown", id="the-word-itself"),
        pytest.param("CA", "ON", "CA", id="canada"),
        pytest.param("GB", None, "GB", id="united-kingdom"),
        pytest.param("GG", None, "GB", id="guernsey"),
        pytest.param("RE", None, "FR", id="reunion"),
        pytest.param("GR", None, "GR", id="greece"),
        pytest.param("NL", None, "ZZ", id="no-row"),
        pytest.param("", None, "ZZ", id="empty-country"),
        pytest.param(None, None, "ZZ", id="no-country"),
    ],
)
def test_rules_for(country: str | None, state: str | None, code: str) -> None:
    assert rules_for(country, state).code == code


def test_every_state_and_district_has_hours() -> None:
    states = (
        "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH"
    )
    states += " OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY"
    assert len(states.split()) == 51
    for state in states.split():
        assert rules_for("US", state).code in {"US", f"US-{state}"}


# --- holidays ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "day", "closed"),
    [
        pytest.param("FR", date(2026, 5, 1), True, id="labour-day"),
        pytest.param("FR", date(2026, 5, 14), True, id="ascension"),
        pytest.param("FR", date(2026, 5, 25), True, id="whit-monday"),
        pytest.param("FR", date(2026, 7, 14), True, id="bastille-day"),
        pytest.param("FR", date(2026, 11, 11), True, id="armistice"),
        pytest.param("FR", date(2026, 11, 12), False, id="the-day-after"),
        pytest.param("FR", date(2027, 3, 29), True, id="easter-monday-of-another-year"),
        pytest.param("US-AL", date(2026, 11, 26), True, id="thanksgiving"),
        pytest.param("US-AL", date(2026, 7, 3), True, id="fourth-of-july-observed"),
        pytest.param("US-RI", date(2026, 8, 10), True, id="victory-day-in-rhode-island"),
        pytest.param("US-LA", date(2026, 8, 10), False, id="no-victory-day-in-louisiana"),
        pytest.param("US-NJ", date(2026, 11, 26), False, id="new-jersey-keeps-no-holiday"),
        pytest.param("AU", date(2027, 1, 26), True, id="australia-day"),
    ],
)
def test_holidays(code: str, day: date, closed: bool) -> None:
    assert (BY_CODE[code].window_on(day) is None) is closed


def test_on_a_holiday_both_windows_must_be_open() -> None:
    window = Window(time(8), time(20))
    half_day = replace(BY_CODE["FR"], weekday=window, holiday=Window(time(10), time(22)))
    assert half_day.window_on(CHRISTMAS) == Window(time(10), time(20))
    never = replace(half_day, holiday=Window(time(20), time(22)))
    assert never.window_on(CHRISTMAS) is None


def test_prepare_computes_every_calendar_once() -> None:
    prepare([2026, 2027])
    before = holidays_of.cache_info().misses
    for row in TABLE:
        for year in (2026, 2027):
            row.window_on(date(year, 12, 25))
    assert holidays_of.cache_info().misses == before


# --- the table as a document -------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", TABLE, ids=[row.code for row in TABLE])
def test_every_row_names_its_source_and_date_and_no_row_crosses_midnight(row: Jurisdiction) -> None:
    assert row.source
    assert date(2025, 1, 1) <= row.as_of <= date.fromisoformat(VERSION)
    for window in (row.weekday, row.saturday, row.sunday, row.holiday):
        assert window is None or window.start < window.end


@pytest.mark.parametrize("code", ["US-CT", "US-IL", "US-NJ", "US-PA", "US-RI", "FR", "CA"])
def test_a_row_with_conflicting_sources_says_that_the_stricter_stands(code: str) -> None:
    assert "strict" in BY_CODE[code].note


def test_every_source_key_is_explained() -> None:
    known = set((jurisdictions.__doc__ or "").replace(",", " ").split())
    for row in TABLE:
        for key in row.source.replace(",", " ").replace(";", " ").replace("(", " ").replace(")", " ").split():
            assert not (len(key) == 3 and key[:2].isupper() and key[2].isdigit()) or key in known, key


def test_a_moment_is_judged_on_the_local_date() -> None:
    late_saturday_in_utc = datetime(2026, 9, 20, 2, tzinfo=UTC)  # 19:00 on Saturday in Los Angeles
    assert is_allowed(late_saturday_in_utc, [BY_CODE["US-AL"]], [ZoneInfo("America/Los_Angeles")])
