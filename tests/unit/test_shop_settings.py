"""What a shop may set."""

from datetime import time, timedelta
from typing import Any

import pytest

from smsblossom.domain.frequency_caps import Caps
from smsblossom.domain.shop_settings import ShopSettingsError, parse


def test_the_defaults() -> None:
    found = parse({})
    assert found.window == (time(8), time(21))
    assert found.caps == Caps(per_day=3, spacing=timedelta(hours=16))
    assert found.maximum_parts == 10


def test_all_of_them() -> None:
    found = parse({"opens": "09:30", "closes": "20:00", "cap_per_day": 0, "spacing_hours": 168, "maximum_parts": 1})
    assert found.window == (time(9, 30), time(20))
    assert found.caps == Caps(per_day=0, spacing=timedelta(hours=168))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"opens": "9:00"}, "opens"),
        ({"opens": "24:00"}, "opens"),
        ({"closes": "21:60"}, "closes"),
        ({"closes": 21}, "closes"),
        ({"opens": "08:00\n"}, "opens"),
        ({"opens": "21:00"}, "closes equals opens"),
        ({"cap_per_day": -1}, "cap_per_day"),
        ({"cap_per_day": 101}, "cap_per_day"),
        ({"spacing_hours": 169}, "spacing_hours"),
        ({"maximum_parts": 0}, "maximum_parts"),
        ({"maximum_parts": "3"}, "maximum_parts"),
        ({"quiet": True}, "quiet"),
    ],
)
def test_a_wrong_one_is_refused_by_name(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ShopSettingsError, match=named):
        parse(settings)
