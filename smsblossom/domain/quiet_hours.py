"""When a text may be sent, and when next. Windows are local clock times, moments are UTC, `now` is a parameter.

A moment is allowed when every rule and the shop's own window are open on the recipient's clock in every zone the
recipient may be in. Changes of the clock need no cases of their own: a moment has exactly one local time, so an hour
that exists twice is judged twice, and one that does not exist is never asked about.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

HORIZON_IN = timedelta(days=14)
"""How far `next_allowed` looks. No row closes for longer than a few days, so beyond it the rules exclude each other."""


class HoursError(ValueError):
    """Hours that cannot be kept: refused when they are saved. `field` names the input to mend."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


@dataclass(frozen=True, slots=True)
class Window:
    """Open from `start` (included) to `end` (excluded), local clock; `end` before `start` crosses midnight.

    Raises `HoursError` for equal ends (open all day or never?) and for times with a zone.
    """

    start: time
    end: time

    def __post_init__(self) -> None:
        for field, value in (("start", self.start), ("end", self.end)):
            if value.tzinfo is not None:
                raise HoursError(field, "a local clock time has no zone")
        if self.start == self.end:
            raise HoursError("end", "must differ from start")

    def __contains__(self, clock: time) -> bool:
        if self.start < self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end


class Rule(Protocol):
    """Something that opens and closes by local date: a jurisdiction, an override of one, a campaign's own hours."""

    @property
    def code(self) -> str: ...

    def window_on(self, day: date) -> Window | None:
        """The window of that local day; None when closed all day."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """Why a moment is not allowed: the code of the rule (`shop` for the shop's window), the zone, the local time."""

    code: str
    zone: str
    local: datetime


def zone_of(name: str, *, field: str = "timezone") -> ZoneInfo:
    """The IANA zone of that name. Raises `HoursError` naming the field when there is none (any more)."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise HoursError(field, "not an IANA time zone, such as Europe/Athens") from None


def why_quiet(
    now: datetime, rules: Sequence[Rule], zones: Sequence[ZoneInfo], *, shop_window: Window | None = None
) -> Quiet | None:
    """The first rule and zone that forbid a text at `now` (aware); None when it may be sent.

    Raises `HoursError` for a naive `now` and for no zone: without a zone nobody can say what time it is there.
    """
    if now.tzinfo is None:
        raise HoursError("now", "must be aware")
    if not zones:
        raise HoursError("zones", "at least one is needed")
    for zone in zones:
        local = now.astimezone(zone)
        day, clock = local.date(), local.time()
        if shop_window is not None and clock not in shop_window:
            return Quiet("shop", zone.key, local)
        for rule in rules:
            window = rule.window_on(day)
            if window is None or clock not in window:
                return Quiet(rule.code, zone.key, local)
    return None


def is_allowed(
    now: datetime, rules: Sequence[Rule], zones: Sequence[ZoneInfo], *, shop_window: Window | None = None
) -> bool:
    """Whether every rule and the shop's window are open at `now` in every zone. Raises as `why_quiet` does."""
    return why_quiet(now, rules, zones, shop_window=shop_window) is None


def next_allowed(
    now: datetime, rules: Sequence[Rule], zones: Sequence[ZoneInfo], *, shop_window: Window | None = None
) -> datetime | None:
    """The earliest allowed moment from `now` on, in UTC; None when there is none within `HORIZON_IN`.

    It is minimal: the caller adds jitter, and asks again at release. Raises as `why_quiet` does.
    """
    if is_allowed(now, rules, zones, shop_window=shop_window):
        return now.astimezone(UTC)
    begin, day = now.astimezone(UTC), timedelta(days=1)
    for n in range(HORIZON_IN // day):
        since = begin + n * day
        for moment in sorted(_openings(since, since + day, rules, zones, shop_window)):
            if is_allowed(moment, rules, zones, shop_window=shop_window):
                return moment
    return None


def _openings(
    since: datetime, until: datetime, rules: Sequence[Rule], zones: Sequence[ZoneInfo], shop_window: Window | None
) -> set[datetime]:
    """Every moment in (since, until] at which something may open: a window's start, a midnight, a clock change."""
    moments: set[datetime] = set()
    for zone in zones:
        first, last = since.astimezone(zone).date(), until.astimezone(zone).date()
        for n in range((last - first).days + 1):
            day = first + timedelta(days=n)
            windows = [shop_window, *(rule.window_on(day) for rule in rules)]
            for clock in {time.min, *(window.start for window in windows if window is not None)}:
                moments.update(datetime.combine(day, clock, zone).replace(fold=fold).astimezone(UTC) for fold in (0, 1))
        if (change := _clock_change(since, until, zone)) is not None:
            moments.add(change)
    return {moment for moment in moments if since < moment <= until}


def _clock_change(since: datetime, until: datetime, zone: ZoneInfo) -> datetime | None:
    """When in (since, until] the zone's offset changes, by halving; no zone changes it twice in a day."""
    old = since.astimezone(zone).utcoffset()
    if old == until.astimezone(zone).utcoffset():
        return None
    whole = since.replace(microsecond=0)  # offsets change on whole seconds
    low, high = 0, int((until - whole).total_seconds()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if (whole + timedelta(seconds=middle)).astimezone(zone).utcoffset() == old:
            low = middle
        else:
            high = middle
    return whole + timedelta(seconds=high)
