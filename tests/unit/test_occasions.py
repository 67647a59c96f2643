"""What an event means for a text: how old it is, whom it is about, what may be said."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from smsblossom.domain.automations import Trigger
from smsblossom.domain.events import Address, Customer, FulfillmentChanged, Order, RawPhone
from smsblossom.domain.occasions import Occasion, OrderBasis, basis_of, of_fulfillment, of_order

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PHONE, OWN = RawPhone("+12025550101", "US"), RawPhone("+12025550102", "US")
ADDRESS = Address("US", "NY", "10001")
CUSTOMER = Customer(7, "a@example.com", OWN, "Ada", None, ADDRESS)
ORDER = Order(
    id=5,
    name="#1001",
    customer=CUSTOMER,
    email="a@example.com",
    phones=(PHONE, OWN),
    address=ADDRESS,
    locale="en-US",
    currency="USD",
    total=Decimal("19.90"),
    source_name="web",
    checkout_token="t",
    financial_status="paid",
    fulfillment_status=None,
    is_test=False,
    processed_at=NOON,
    created_at=NOON,
    updated_at=NOON,
    cancelled_at=None,
    status_url="https://shop.example.com/o",
)
PARCEL = FulfillmentChanged(
    id=6,
    order_id=5,
    status="delivered",
    name="#1001.1",
    phones=(),
    address=None,
    tracking_company="UPS",
    tracking_url="https://t.example.com",
    updated_at=NOON,
)


def order(**changed: Any) -> Order:
    return msgspec.structs.replace(ORDER, **changed)


def created(**changed: Any) -> Occasion:
    return of_order(Trigger.ORDER_CREATED, order(**changed), triggered_at=NOON)


@pytest.mark.parametrize(
    ("trigger", "processed", "triggered", "happened"),
    [
        pytest.param(Trigger.ORDER_CREATED, NOON, NOON, NOON, id="told at once"),
        pytest.param(Trigger.ORDER_CREATED, NOON - HOUR, NOON, NOON - HOUR, id="an old order told now"),
        pytest.param(Trigger.ORDER_CREATED, NOON + HOUR, NOON, NOON, id="the order's clock is ahead"),
        pytest.param(Trigger.ORDER_CREATED, None, NOON, NOON, id="no processed_at"),
        pytest.param(Trigger.ORDER_PAID, NOON - 300 * HOUR, NOON, NOON, id="a payment is as old as its news"),
    ],
)
def test_lateness_is_measured_from(
    trigger: Trigger, processed: datetime | None, triggered: datetime, happened: datetime
) -> None:
    assert of_order(trigger, order(processed_at=processed), triggered_at=triggered).happened_at == happened


@pytest.mark.parametrize(
    ("changed", "imported"),
    [
        ({}, False),
        ({"processed_at": NOON - HOUR}, False),
        ({"processed_at": NOON - HOUR - timedelta(seconds=1)}, True),
        ({"processed_at": NOON + 5 * HOUR}, False),
        ({"processed_at": None}, False),
        ({"created_at": None}, False),
    ],
)
def test_an_order_made_long_after_it_was_placed_is_imported(changed: dict[str, Any], imported: bool) -> None:
    assert created(**changed).is_imported is imported


@pytest.mark.parametrize(
    ("changed", "phone_only"),
    [
        pytest.param({}, False, id="phone and e-mail"),
        pytest.param({"email": None}, True, id="phone only"),
        pytest.param({"email": None, "phones": ()}, False, id="neither"),
    ],
)
def test_whom_shopify_itself_may_text(changed: dict[str, Any], phone_only: bool) -> None:
    assert created(**changed).phone_only is phone_only


def test_an_order_is_about_itself() -> None:
    occasion = created(source_name="pos", is_test=True)
    assert (occasion.subject, occasion.order_id, occasion.own_phone) == ("order:5", 5, OWN)
    assert (occasion.is_pos, occasion.is_test) == (True, True)
    assert occasion.variables == {
        "order": {"name": "#1001", "total": "19.90", "currency": "USD", "status_url": "https://shop.example.com/o"},
        "customer": {"first_name": "Ada", "last_name": None},
    }


def test_a_nameless_order_of_nobody() -> None:
    occasion = created(name=None, customer=None, total=None)
    assert occasion.own_phone is None
    assert occasion.variables["order"]["name"] == "#5"
    assert occasion.variables["order"]["total"] is None
    assert occasion.variables["customer"] == {}


def test_a_parcel_takes_from_its_order_what_it_does_not_say_itself() -> None:
    occasion = of_fulfillment(PARCEL, base=basis_of(order(is_test=True)), triggered_at=NOON)
    assert (occasion.subject, occasion.status, occasion.happened_at) == ("fulfillment:6:delivered", "delivered", NOON)
    assert (occasion.phones, occasion.own_phone, occasion.address) == ((PHONE, OWN), OWN, ADDRESS)
    assert occasion.is_test
    assert occasion.variables["order"]["name"] == "#1001"
    assert occasion.variables["fulfillment"] == {
        "status": "delivered",
        "name": "#1001.1",
        "tracking": {"company": "UPS", "url": "https://t.example.com"},
    }


def test_a_parcels_own_destination_comes_first() -> None:
    elsewhere, friend = Address("GR", None, None), RawPhone("+12025550103", "GR")
    parcel = msgspec.structs.replace(PARCEL, phones=(friend,), address=elsewhere)
    occasion = of_fulfillment(parcel, base=basis_of(ORDER), triggered_at=NOON)
    assert (occasion.phones, occasion.address) == ((friend, PHONE, OWN), elsewhere)


def test_a_parcel_of_an_order_never_seen_is_an_occasion_too() -> None:
    occasion = of_fulfillment(PARCEL, base=OrderBasis(), triggered_at=NOON)
    assert (occasion.phones, occasion.own_phone, occasion.variables["order"]) == ((), None, {"name": "#1001.1"})


def test_an_occasion_survives_being_kept_and_shows_nothing() -> None:
    occasion = created()
    kept = msgspec.json.decode(msgspec.json.encode(occasion), type=Occasion)
    assert kept == occasion
    for shown in (repr(occasion), repr(basis_of(ORDER)), repr(ORDER), repr(CUSTOMER)):
        assert not any(secret in shown for secret in ("555", "Ada", "example.com"))
