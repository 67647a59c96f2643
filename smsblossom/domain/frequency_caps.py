"""How many texts one person may get: rolling caps, counted in SQL, judged here."""

from datetime import datetime, timedelta

import msgspec


class Caps(msgspec.Struct, frozen=True):
    """`per_day` texts in any 24 hours; `spacing` between two promotional ones (smart sending). None: no limit."""

    per_day: int | None = 3
    spacing: timedelta | None = timedelta(hours=16)


class SentBefore(msgspec.Struct, frozen=True):
    """Promotional texts that count as sent to this number, from any source: how many in 24 hours, and the newest."""

    last_day: int
    newest_at: datetime | None


def reached(caps: Caps, sent: SentBefore, now: datetime) -> str | None:
    """Which limit is used up, as the reason's name, or None."""
    if caps.per_day is not None and sent.last_day >= caps.per_day:
        return "cap_reached"
    if caps.spacing is not None and sent.newest_at is not None and now - sent.newest_at < caps.spacing:
        return "sent_recently"
    return None
