"""Where a person's clock is read from, and what several possible clocks mean."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsblossom.domain.contacts import Phone, parse_phone
from smsblossom.domain.events import Address
from smsblossom.domain.sending import ZoneBasis
from smsblossom.domain.zones import Zones, is_zone, states_for, zones_for

SHOP = "Europe/Athens"
NEW_YORK, CHICAGO, HONOLULU = "America/New_York", "America/Chicago", "Pacific/Honolulu"


def phone(number: str | None) -> Phone | None:
    if number is None:
        return None
    found = parse_phone(number, None)
    assert isinstance(found, Phone)
    return found


def address(country: str | None, province: str | None = None) -> Address:
    return Address(country, province, None)


@pytest.mark.parametrize(
    ("where", "browser", "number", "names", "basis"),
    [
        pytest.param(
            address("US", "NY"), None, "+13125550101", (NEW_YORK,), ZoneBasis.ADDRESS, id="state before number"
        ),
        pytest.param(address("US", "HI"), CHICAGO, None, (HONOLULU,), ZoneBasis.ADDRESS, id="state before browser"),
        pytest.param(address("GR"), None, "+12125550101", ("Europe/Athens",), ZoneBasis.ADDRESS, id="a small country"),
        pytest.param(address("DE"), None, None, ("Europe/Berlin",), ZoneBasis.ADDRESS, id="Germany is one zone"),
        pytest.param(address("AU", "WA"), None, None, ("Australia/Perth",), ZoneBasis.ADDRESS, id="Australian state"),
        pytest.param(address("US"), CHICAGO, "+12125550101", (CHICAGO,), ZoneBasis.BROWSER, id="browser before number"),
        pytest.param(address("US"), "Mars/Olympus", "+12125550101", (NEW_YORK,), ZoneBasis.NUMBER, id="a false zone"),
        pytest.param(address("US", "XX"), None, "+12125550101", (NEW_YORK,), ZoneBasis.NUMBER, id="an unknown state"),
        pytest.param(None, None, "+12125550101", (NEW_YORK,), ZoneBasis.NUMBER, id="only a number"),
        pytest.param(None, None, None, (SHOP,), ZoneBasis.SHOP, id="nothing but the shop"),
        pytest.param(address(None), None, None, (SHOP,), ZoneBasis.SHOP, id="an empty address"),
        pytest.param(address("ZZ"), None, None, (SHOP,), ZoneBasis.SHOP, id="a country that is none"),
    ],
)
def test_the_best_basis_counts(
    where: Address | None, browser: str | None, number: str | None, names: tuple[str, ...], basis: ZoneBasis
) -> None:
    assert zones_for(address=where, browser=browser, phone=phone(number), shop=SHOP) == Zones(names, basis)


def test_a_large_country_without_a_state_or_number_is_all_its_zones() -> None:
    found = zones_for(address=address("US"), browser=None, phone=None, shop=SHOP)
    assert found.basis is ZoneBasis.ADDRESS
    assert {NEW_YORK, "America/Los_Angeles", HONOLULU} <= set(found.names)


def test_a_state_of_two_zones_is_both() -> None:
    found = zones_for(address=address("US", "TN"), browser=None, phone=None, shop=SHOP)
    assert set(found.names) == {NEW_YORK, CHICAGO}


@pytest.mark.parametrize(
    ("where", "number", "country", "states"),
    [
        pytest.param(address("US", "TX"), "+12125550101", "US", ("TX", "NY"), id="both point to laws that may hold"),
        pytest.param(address("US", "NY"), "+12125550101", "US", ("NY",), id="both the same"),
        pytest.param(address("GR"), "+12125550101", "GR", (), id="the address's country counts"),
        pytest.param(None, "+12125550101", "US", ("NY",), id="only a number"),
        pytest.param(None, "+4917139200200"[:13], "DE", (), id="a country without states"),
        pytest.param(None, None, None, (), id="nothing"),
    ],
)
def test_whose_law(where: Address | None, number: str | None, country: str | None, states: tuple[str, ...]) -> None:
    assert states_for(address=where, phone=phone(number)) == (country, states)


@pytest.mark.parametrize(
    ("name", "expected"),
    [(NEW_YORK, True), ("UTC", True), ("", False), ("../etc/passwd", False), ("Nowhere/City", False), ("/x", False)],
)
def test_what_is_a_zone(name: str, expected: bool) -> None:
    assert is_zone(name) is expected


@given(
    st.sampled_from(["US", "CA", "AU", "GR", "DE", "FR", "JP", "BR", "RU", "ZZ", None]),
    st.sampled_from(["NY", "TX", "ON", "NSW", "XX", "", None]),
    st.sampled_from(["+12125550101", "+16135550101", "+4917139200200"[:13], "+61491570156", None]),
)
def test_there_is_always_a_zone_and_it_exists(country: str | None, province: str | None, number: str | None) -> None:
    found = zones_for(address=address(country, province), browser=None, phone=phone(number), shop=SHOP)
    assert found.names
    assert all(ZoneInfo(name) for name in found.names)
