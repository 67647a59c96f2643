"""The hours and caps that law and carriers set for promotional texts: one readable table, versioned.

Where sources conflict the stricter stands, and the row's note says so. Nothing here is legal advice. A decision keeps
`VERSION`. Sources: 47 CFR = federal rule; DC1 dropcowboy.com/state-compliance (2025-11-01); RE1 support.referrizer.com;
ST1 usestello.com/compliance (2026-04-08); PS1 help.postscript.io/9321080861211; CP1 blog.clickpointsoftware.com
(calling hours by state); KL1, KL2 help.klaviyo.com (state rules; default quiet hours); TX1 foster.com (2025-09-25);
CR1 support.callr.com; BV1 developers.brevo.com; AC1 help.goacoustic.com/360043722874; GH2 element-web issue 7672;
TW9 twilio.com/en/guidelines/it/sms; AU1 natan.com.au; CA1 CASL; PK "practitioners' knowledge", with no stored source.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, time
from functools import lru_cache
from typing import Literal

from smsblossom.domain.quiet_hours import Window

VERSION = "2026-11-22"
"""The day this table was last judged as a whole. It changes with every change of a row."""

READ_ON = date(2026, 11, 22)


@dataclass(frozen=True, slots=True)
class Jurisdiction:
    """One row. A window of None means closed all day.

    `calendar` names the places whose public holidays are kept ("US-AL", several by spaces, none if empty): on them
    both the day's own window and `holiday` must be open. `cap_per_24h` counts promotional texts to one number in any
    rolling 24 hours.
    """

    code: str
    name: str
    weekday: Window | None
    saturday: Window | None
    sunday: Window | None
    source: str
    as_of: date = READ_ON
    calendar: str = ""
    holiday: Window | None = None
    cap_per_24h: int | None = None
    note: str = ""

    def window_on(self, day: date) -> Window | None:
        """The window of that local day; None when closed all day."""
        number = day.weekday()
        window = self.weekday if number < 5 else self.saturday if number == 5 else self.sunday
        if self.calendar and day in holidays_of(self.calendar, day.year):
            return _both(window, self.holiday)
        return window


@lru_cache(maxsize=256)
def holidays_of(calendar: str, year: int) -> frozenset[date]:
    """The public holidays of a year in a calendar ("FR", "US-AL", or several places), observed days included.

    Computed once. The first call costs up to 0.5 s (the import of `holidays`, its first year): `prepare` at the start.
    """
    import holidays

    days: set[date] = set()
    for place in calendar.split():
        country, _, subdivision = place.partition("-")
        days.update(holidays.country_holidays(country, subdiv=subdivision or None, years=year))
    return frozenset(days)


def prepare(years: Iterable[int]) -> None:
    """Compute the holidays of those years for every row, so that no decision waits for them."""
    for year in years:
        for row in TABLE:
            if row.calendar:
                holidays_of(row.calendar, year)


def rules_for(country: str | None, state: str | None = None) -> Jurisdiction:
    """The row of an ISO country and, in the United States, a postal state code; case does not matter.

    A United States address without a known state gets the row that satisfies every state; a country without a row, or
    no country, the strict default. With several possible places ask for each, and let all of them allow.
    """
    home = (country or "").strip().upper()
    home = _SAME_AS.get(home, home)
    if home != "US":
        return _BY_CODE.get(home, ELSEWHERE)
    state = (state or "").strip().upper().removeprefix("US-")
    if state in _FEDERAL_STATES or (country or "").strip().upper() in _TERRITORIES:
        return FEDERAL
    return _BY_CODE.get(f"US-{state}", UNKNOWN_STATE)


def _both(one: Window | None, other: Window | None) -> Window | None:
    if one is None or other is None:
        return None
    start, end = max(one.start, other.start), min(one.end, other.end)
    return Window(start, end) if start < end else None


def _hours(start: int, end: int) -> Window:
    return Window(time(start), time(end))


def _state(
    state: str,
    name: str,
    weekday: Window,
    source: str,
    *,
    saturday: Window | None = None,
    sunday: Window | Literal["same"] | None = "same",
    closed_on_holidays: bool = False,
    cap: int | None = None,
    as_of: date = READ_ON,
    note: str = "",
) -> Jurisdiction:
    """A United States row: Saturday is a weekday unless named, Sunday too, holidays are closed or unknown to it."""
    return Jurisdiction(
        code=f"US-{state}",
        name=name,
        weekday=weekday,
        saturday=saturday or weekday,
        sunday=weekday if sunday == "same" else sunday,
        source=source,
        as_of=as_of,
        calendar=f"US-{state}" if closed_on_holidays else "",
        cap_per_24h=cap,
        note=note,
    )


_DC1, _ST1, _TX1 = date(2025, 11, 1), date(2026, 4, 8), date(2025, 9, 25)

FEDERAL = Jurisdiction(
    "US",
    "United States, federal",
    weekday=_hours(8, 21),
    saturday=_hours(8, 21),
    sunday=_hours(8, 21),
    source="47 CFR 64.1200(c)(1)",
    note="states without a row of their own; whether it binds consented texts is contested, so it is kept",
)
UNKNOWN_STATE = Jurisdiction(
    "US-unknown",
    "United States, state unknown",
    weekday=_hours(10, 17),
    saturday=_hours(10, 17),
    sunday=None,
    source="the narrowest of all United States rows",
    calendar="US US-AL US-LA US-PA US-RI",
    cap_per_24h=3,
    note="satisfies every row: Sundays are closed in AL, LA, MS, PA and RI, holidays in AL, LA, PA and RI",
)
ELSEWHERE = Jurisdiction(
    "ZZ",
    "Everywhere else",
    weekday=_hours(9, 20),
    saturday=_hours(9, 20),
    sunday=None,
    source="business default",
    note="strict default of a country without a row",
)

_STATES = (
    _state("AL", "Alabama", _hours(8, 20), "DC1, RE1", sunday=None, closed_on_holidays=True, as_of=_DC1),
    _state("CA", "California", _hours(9, 21), "ST1", as_of=_ST1, note="auto-dialler statute; stricter than federal"),
    _state("CT", "Connecticut", _hours(9, 20), "DC1, RE1, CP1", as_of=_DC1, note="CP1 has 9-21: the stricter stands"),
    _state("FL", "Florida", _hours(8, 20), "DC1, PS1, KL1, CP1", cap=3, as_of=_DC1, note="cap: on the same subject"),
    _state("IL", "Illinois", _hours(9, 21), "ST1, DC1", as_of=_ST1, note="DC1 has 8-21: the stricter stands"),
    _state("KY", "Kentucky", _hours(10, 21), "DC1, RE1", as_of=_DC1),
    _state("LA", "Louisiana", _hours(8, 20), "DC1, RE1", sunday=None, closed_on_holidays=True, as_of=_DC1),
    _state("MA", "Massachusetts", _hours(8, 20), "DC1, RE1", as_of=_DC1),
    _state("MD", "Maryland", _hours(8, 20), "DC1, KL1", cap=3, as_of=_DC1, note="cap as enforced by KL1"),
    _state("MI", "Michigan", _hours(9, 21), "DC1, RE1", as_of=_DC1),
    _state("MN", "Minnesota", _hours(9, 21), "DC1, RE1", as_of=_DC1),
    _state("MS", "Mississippi", _hours(8, 20), "DC1, RE1", sunday=None, as_of=_DC1, note="no source names holidays"),
    _state("NJ", "New Jersey", _hours(8, 20), "RE1, PS1", note="PS1 has 8-21: the stricter stands"),
    _state("NM", "New Mexico", _hours(9, 21), "DC1, RE1", as_of=_DC1),
    _state("NV", "Nevada", _hours(9, 20), "DC1, RE1", as_of=_DC1),
    _state("OK", "Oklahoma", _hours(8, 20), "DC1, PS1, KL1, CP1", cap=3, as_of=_DC1, note="cap: on the same subject"),
    _state(
        "PA",
        "Pennsylvania",
        _hours(8, 21),
        "DC1, RE1, PS1",
        saturday=_hours(10, 17),
        sunday=None,
        closed_on_holidays=True,
        as_of=_DC1,
        note="sources differ on Saturday and Sunday: Saturday as in the strictest state, Sunday closed",
    ),
    _state(
        "RI",
        "Rhode Island",
        _hours(9, 18),
        "RE1, PK",
        saturday=_hours(10, 17),
        sunday=None,
        closed_on_holidays=True,
        note="RE1 has 10-17 on weekends, PK no Sundays: the stricter stands",
    ),
    _state("TX", "Texas", _hours(9, 21), "TX1 (SB 140, from 2025-09-01)", sunday=_hours(12, 21), as_of=_TX1),
    _state("WA", "Washington", _hours(8, 20), "PS1"),
)

_COUNTRIES = (
    Jurisdiction(
        "CA",
        "Canada",
        weekday=_hours(9, 21),
        saturday=_hours(10, 18),
        sunday=_hours(10, 18),
        source="CRTC Unsolicited Telecommunications Rules (PK); KL2",
        note="CASL (CA1) names no hours; of the CRTC's for calls (9-21:30, weekends 10-18) and KL2's 8-21 the stricter",
    ),
    Jurisdiction(
        "GB",
        "United Kingdom",
        weekday=_hours(8, 21),
        saturday=_hours(8, 21),
        sunday=_hours(8, 21),
        source="KL2",
        note="PECR names no hours; the leaders' window",
    ),
    Jurisdiction(
        "FR",
        "France",
        weekday=_hours(8, 20),
        saturday=_hours(10, 18),
        sunday=None,
        source="CR1, BV1, KL2, AC1",
        calendar="FR",
        note="CR1, BV1, KL2 have 8-22, AC1 8-20 and Saturdays 10-18: the stricter stands (GH2: two carriers from 8:30)",
    ),
    Jurisdiction(
        "DE",
        "Germany",
        weekday=_hours(9, 20),
        saturday=_hours(9, 20),
        sunday=_hours(9, 20),
        source="business default; UWG §7 names no hours",
    ),
    Jurisdiction(
        "IT",
        "Italy",
        weekday=_hours(8, 22),
        saturday=_hours(8, 22),
        sunday=None,
        source="TW9",
        note="prohibited 22-8 and all Sunday",
    ),
    Jurisdiction(
        "GR",
        "Greece",
        weekday=_hours(9, 20),
        saturday=_hours(9, 20),
        sunday=_hours(9, 20),
        source="business default; Law 3471/2006 names no hours",
    ),
    Jurisdiction(
        "ES",
        "Spain",
        weekday=_hours(9, 20),
        saturday=_hours(9, 20),
        sunday=_hours(9, 20),
        source="business default; no statutory hours found",
    ),
    Jurisdiction(
        "AU",
        "Australia",
        weekday=_hours(9, 20),
        saturday=_hours(9, 17),
        sunday=None,
        source="Telemarketing Industry Standard 2017 (PK)",
        calendar="AU",
        note="the Spam Act (AU1) names no hours; the standard for calls is kept as the stricter",
    ),
)

TABLE: tuple[Jurisdiction, ...] = (FEDERAL, UNKNOWN_STATE, *_STATES, *_COUNTRIES, ELSEWHERE)
"""Every row. Codes are unique: `US-TX` a state, `US` the other states, `FR` a country, `ZZ` everywhere else."""

_BY_CODE = {row.code: row for row in TABLE}
_TERRITORIES = frozenset({"AS", "GU", "MP", "PR", "VI"})
_SAME_AS = {
    **dict.fromkeys(_TERRITORIES, "US"),
    **dict.fromkeys(("GG", "JE", "IM"), "GB"),
    **dict.fromkeys(("BL", "GF", "GP", "MF", "MQ", "PM", "RE", "YT"), "FR"),
    **dict.fromkeys(("CC", "CX", "NF"), "AU"),
}
_OTHER_STATES = "AK AR AZ CO DC DE GA HI IA ID IN KS ME MO MT NC ND NE NH NY OH OR SC SD TN UT VA VT WI WV WY"
_FEDERAL_STATES = frozenset(_OTHER_STATES.split()) | _TERRITORIES
