"""Make an old webhook body look as if it had just happened, changing nothing but its timestamps."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_STAMP = rb"(\d{4}-\d\d-\d\d)([T ])(\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:?\d\d)"
_QUOTED = re.compile(rb'"' + _STAMP + rb'"')
_TELLING = re.compile(rb'"(?:created_at|processed_at|updated_at)"\s*:\s*"' + _STAMP + rb'"')


def redate(body: bytes, now: datetime) -> bytes:
    """Shift every ISO timestamp so that the newest created_at, processed_at or updated_at is `now` minus a second.

    Differences, offsets, fractions and every other byte stay. Without one of those three keys the newest timestamp of
    any kind counts; without timestamps, and where a shifted date would leave the calendar, the bytes stay as they are.
    """
    moments = [moment for match in _TELLING.finditer(body) if (moment := _moment(match)) is not None]
    moments = moments or [moment for match in _QUOTED.finditer(body) if (moment := _moment(match)) is not None]
    if not moments:
        return body
    shift = now - timedelta(seconds=1) - max(moments)
    return _QUOTED.sub(lambda match: _shifted(match, shift), body)


def _moment(match: re.Match[bytes]) -> datetime | None:
    """Whole seconds of the timestamp; None for a date that no calendar has."""
    date, _, time, _, offset = (part.decode() for part in match.groups(default=b""))
    try:
        return datetime.fromisoformat(f"{date}T{time}{offset}")
    except ValueError:
        return None


def _shifted(match: re.Match[bytes], shift: timedelta) -> bytes:
    moment = _moment(match)
    if moment is None:
        return match.group()
    try:
        moved = moment + shift
    except OverflowError:
        return match.group()
    _, separator, _, fraction, offset = match.groups(default=b"")
    stamp = moved.strftime(f"%Y-%m-%d{separator.decode()}%H:%M:%S").rjust(19, "0").encode()
    return b'"' + stamp + fraction + offset + b'"'
