"""When a schedule fires: cron expressions in a time zone, intervals, one-off moments, and what to do about misses.

All moments go in and come out aware; they come out in UTC. Cron follows Debian's rules at clock changes (cron(8)):

- at a fixed time of day (`30 2 * * *`) it fires once a day. A time that the clocks skip fires at the moment they are
  put forward, a time that they repeat fires the first time only;
- with a `*` in the minute or the hour (`*/15 * * * *`, `0 * * * *`) it follows elapsed time: nothing is made up for in
  a skipped hour, and a repeated hour is an hour like any other.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError

from smsblossom.domain import zones

CRON_EXAMPLE: Final = '"0 9 * * MON-FRI"'
SHORTEST: Final = timedelta(seconds=1)
LONGEST: Final = timedelta(days=366)
ON_TIME_IN: Final = timedelta(minutes=1)
"""A tick fired this late is still on time; a later one was missed."""
MOST_AT_ONCE: Final = 100
"""Ticks that catching up fires at most, the newest ones: a year of missed minutes must not flood a queue."""


class ScheduleError(ValueError):
    """The timing cannot be used. The message names the field and shows a valid example."""


class CatchUp(StrEnum):
    """What becomes of ticks that were missed while no scheduler ran."""

    SKIP = "skip"
    """None of them fires; the next one on time does."""
    ONCE = "once"
    """The newest of them stands for all."""
    ALL = "all"
    """Each fires, oldest first, up to the newest MOST_AT_ONCE."""


class Cron(msgspec.Struct, frozen=True, tag="cron"):
    expression: str
    timezone: str = "UTC"


class Every(msgspec.Struct, frozen=True, tag="interval"):
    """At `start_at` and every `every` after it."""

    every: timedelta
    start_at: datetime


class Once(msgspec.Struct, frozen=True, tag="once"):
    at: datetime


Timing = Cron | Every | Once


class Due(msgspec.Struct, frozen=True):
    """What to do about a schedule now.

    `fire` the ticks to fire, oldest first · `next_at` its next tick, None when there is none · `is_behind` whether
    ticks were left out.
    """

    fire: tuple[datetime, ...]
    next_at: datetime | None
    is_behind: bool


def cron(expression: str, timezone: str) -> Cron:
    """A cron timing that fires at some time.

    Raises:
        ScheduleError: a malformed expression, one that never comes true, or an unknown zone.

    """
    if len(expression.split()) != 5:
        raise ScheduleError(
            f"cron: {expression!r} has not five fields (minute hour day month weekday); for example {CRON_EXAMPLE}"
        )
    if not zones.is_zone(timezone):
        raise ScheduleError(f"timezone: {timezone!r} is no time zone; for example America/New_York")
    timing = Cron(" ".join(expression.split()), timezone)
    if next_after(timing, datetime(2000, 1, 1, tzinfo=UTC)) is None:
        raise ScheduleError(f"cron: {expression!r} never comes true; for example {CRON_EXAMPLE}")
    return timing


def every(duration: str, start_at: datetime) -> Every:
    """An interval written as `90s`, `15m`, `1h30m`, `2d`.

    Raises:
        ScheduleError: not such a duration, or shorter than a second, or longer than a year.

    """
    return Every(interval_of(duration), start_at.astimezone(UTC))


def interval_of(duration: str) -> timedelta:
    """Raises ScheduleError as `every` does."""
    found = re.fullmatch(r"(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?", duration.strip(), re.ASCII)
    if found is None or not any(found.groups()):
        raise ScheduleError(f"every: {duration!r} is no duration; for example 15m or 1h30m")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not SHORTEST <= length <= LONGEST:
        raise ScheduleError(f"every: {duration!r} is not from one second to one year; for example 15m or 1h30m")
    return length


def next_after(timing: Timing, after: datetime) -> datetime | None:
    """The first tick later than `after`, in UTC; None when there is none. Raises ScheduleError as `cron` does."""
    return next(_ticks(timing, after), None)


def first_at(timing: Timing, now: datetime) -> datetime | None:
    """When a schedule made or resumed now fires first; a one-off whose moment has passed never does."""
    match timing:
        case Once(at):
            return at.astimezone(UTC) if at >= now else None
        case Every(_, start_at) if start_at >= now:
            return start_at.astimezone(UTC)
        case _:
            return next_after(timing, now)


def due_ticks(
    timing: Timing,
    next_at: datetime,
    now: datetime,
    *,
    policy: CatchUp,
    on_time_in: timedelta = ON_TIME_IN,
    limit: int = MOST_AT_ONCE,
) -> Due:
    """The ticks of [next_at, now] that fire now, and the tick after them.

    A single tick on time fires under every policy; `next_at` in the future fires nothing and stays.
    """
    if next_at > now:
        return Due((), next_at, is_behind=False)
    wanted = limit if policy is CatchUp.ALL else 1
    newest, is_behind = _newest(timing, next_at, now, limit=wanted)
    if policy is CatchUp.SKIP and newest and now - newest[-1] > on_time_in:
        newest, is_behind = (), True
    return Due(newest, next_after(timing, now), is_behind)


def _newest(timing: Timing, first: datetime, now: datetime, *, limit: int) -> tuple[tuple[datetime, ...], bool]:
    """The newest `limit` ticks of [first, now], oldest first, and whether there are older ones.

    Looks back over a window that doubles until it holds enough, so that the work does not grow with the time missed.
    """
    just_before = first - timedelta(microseconds=1)
    window = timedelta(minutes=1)
    while True:
        since = max(just_before, now - window)
        found = []
        for tick in _ticks(timing, since):
            if tick > now:
                break
            found.append(tick)
        if since == just_before or len(found) > limit:
            break
        window *= 2
    # `first` itself is due even where the timing was edited since it was computed.
    if since == just_before and first not in found:
        found.insert(0, first)
    return tuple(found[-limit:]), len(found) > limit


def _ticks(timing: Timing, after: datetime) -> Iterator[datetime]:
    """All ticks later than `after`, in order, each once."""
    match timing:
        case Cron(expression, timezone):
            yield from _cron_ticks(expression, timezone, after)
        case Every(every, start_at):
            passed = max(0, (after - start_at) // every + 1)
            while True:
                yield (start_at + passed * every).astimezone(UTC)
                passed += 1
        case Once(at):
            if at > after:
                yield at.astimezone(UTC)


def _cron_ticks(expression: str, timezone: str, after: datetime) -> Iterator[datetime]:
    last = after.astimezone(UTC)
    try:
        ticks = CronSim(expression, after.astimezone(ZoneInfo(timezone)))
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        raise ScheduleError(f"cron: {expression!r} has a bad {field}; for example {CRON_EXAMPLE}") from error
    except ZoneInfoNotFoundError as error:
        raise ScheduleError(f"timezone: {timezone!r} is no time zone; for example America/New_York") from error
    for tick in ticks:
        # Inside a repeated hour cronsim names the hour's first pass again; that tick has passed already.
        moment = tick.astimezone(UTC)
        if moment > last:
            yield moment
            last = moment
