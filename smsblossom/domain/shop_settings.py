"""What a shop may set: its own hours and caps, stricter than the law or not at all."""

from datetime import time, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from smsblossom.domain.frequency_caps import Caps

# Python's `$` would accept a trailing newline.
_Clock = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$(?!\n)")]


class ShopSettingsError(ValueError):
    """A setting is not of the schema. The message names the field."""


class ShopSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    opens: _Clock = "08:00"
    closes: _Clock = "21:00"
    cap_per_day: Annotated[int, Meta(ge=0, le=100)] = 3
    spacing_hours: Annotated[int, Meta(ge=0, le=168)] = 16
    maximum_parts: Annotated[int, Meta(ge=1, le=10)] = 10

    @property
    def window(self) -> tuple[time, time]:
        return time.fromisoformat(self.opens), time.fromisoformat(self.closes)

    @property
    def caps(self) -> Caps:
        return Caps(per_day=self.cap_per_day, spacing=timedelta(hours=self.spacing_hours))


def parse(settings: dict[str, Any]) -> ShopSettings:
    """Typed settings.

    Raises:
        ShopSettingsError: an unknown key, or a value out of its range.

    """
    try:
        parsed = msgspec.convert(settings, ShopSettings)
    except msgspec.ValidationError as exc:
        raise ShopSettingsError(str(exc)) from exc
    if parsed.opens == parsed.closes:
        raise ShopSettingsError(f"closes equals opens ({parsed.opens}); for example opens=08:00 closes=21:00")
    return parsed
