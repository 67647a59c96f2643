"""Which time zones a person may be in, and where that was read from: address, browser, number, shop, in this order.

Several zones mean that it is one of them and nobody knows which: a text needs the consent of all their clocks.
"""

from collections import defaultdict
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from babel.core import get_global

from smsblossom.domain import area_codes
from smsblossom.domain.contacts import Phone
from smsblossom.domain.events import Address
from smsblossom.domain.sending import ZoneBasis

_FEW: Final = 4
"""A country of more zones than this needs a state or a number to say where in it."""

_AUSTRALIA: Final = {
    "ACT": "Australia/Sydney",
    "NSW": "Australia/Sydney",
    "NT": "Australia/Darwin",
    "QLD": "Australia/Brisbane",
    "SA": "Australia/Adelaide",
    "TAS": "Australia/Hobart",
    "VIC": "Australia/Melbourne",
    "WA": "Australia/Perth",
}
_BUSINGEN: Final = "Europe/Busingen"  # follows Berlin since 1981; would make every German address ambiguous


class Zones(msgspec.Struct, frozen=True):
    names: tuple[str, ...]
    basis: ZoneBasis


def zones_for(*, address: Address | None, browser: str | None, phone: Phone | None, shop: str) -> Zones:
    """The recipient's possible zones (IANA names) by the best basis there is.

    An address without its state in a country of many zones says less than an area code; it is asked after the number.
    """
    precise = _of_place(address.country, address.province) if address else ()
    if precise:
        return Zones(precise, ZoneBasis.ADDRESS)
    if browser and is_zone(browser):
        return Zones((browser,), ZoneBasis.BROWSER)
    by_number = _of_phone(phone) if phone else ()
    if by_number:
        return Zones(by_number, ZoneBasis.NUMBER)
    anywhere = _of_country(address.country) if address else ()
    return Zones(anywhere, ZoneBasis.ADDRESS) if anywhere else Zones((shop,), ZoneBasis.SHOP)


def states_for(*, address: Address | None, phone: Phone | None) -> tuple[str | None, tuple[str, ...]]:
    """The recipient's country, and every state that the address or the number points to."""
    area = area_codes.lookup(phone.e164) if phone else None
    country = (address.country if address else None) or (phone.region if phone else None)
    states = [address.province] if address and address.province else []
    if area and area.country == country:
        states += [state for state in area.states if state not in states]
    return country, tuple(states)


@lru_cache(maxsize=1024)
def is_zone(name: str) -> bool:
    """Whether this is a time zone of the tz database."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


@lru_cache(maxsize=4096)
def _of_place(country: str | None, province: str | None) -> tuple[str, ...]:
    """The zones of a state, or of a country that needs none to be named; empty where the place is too vague."""
    if country in {"US", "CA"}:
        return tuple(sorted(_BY_STATE.get((country, province or ""), ())))
    if country == "AU":
        return (_AUSTRALIA[province],) if province in _AUSTRALIA else ()
    zones = _of_country(country)
    return zones if len(zones) <= _FEW else ()


def _of_country(country: str | None) -> tuple[str, ...]:
    """None for ZZ, Shopify's unknown region, to which CLDR gives every fixed offset there is."""
    zones = get_global("territory_zones").get(country or "", ())
    return tuple(zone for zone in zones if zone != _BUSINGEN and not zone.startswith("Etc/"))


def _of_phone(phone: Phone) -> tuple[str, ...]:
    """Every zone the number may be in: the text needs them all to allow it."""
    area = area_codes.lookup(phone.e164)
    return area.zones if area else tuple(zone for zone in phone.zones if is_zone(zone))


def _by_state() -> dict[tuple[str, str], set[str]]:
    """Zones of each state: those of its area codes. An area code that two states share tells nothing of either."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for area in area_codes.areas():
        if len(area.states) == 1:
            found[area.country, area.states[0]].update(area.zones)
    return dict(found)


_BY_STATE: Final = _by_state()
