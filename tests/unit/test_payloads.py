"""Webhook bodies into events: the traps of real bodies, one row each."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from smsblossom.domain.consent import ConsentState, OptInLevel
from smsblossom.domain.events import (
    Address,
    CheckoutChanged,
    Consent,
    ConsentChanged,
    CustomerChanged,
    FulfillmentChanged,
    Order,
    OrderChanged,
    RawPhone,
    ShipmentEvent,
    ShopChanged,
)
from smsblossom.shopify.payloads import COMPLIANCE_TOPICS, UnusableBody, compliance_shop, object_id, parse, parse_time

US = {"country_code": "US", "province_code": "NY", "zip": "10001"}
A, B, C, D, E = (f"+1202555010{n}" for n in range(5))


def order(**fields: Any) -> Order:
    event = parse("orders/create", json.dumps({"id": 1, **fields}).encode())
    assert isinstance(event, OrderChanged)
    return event.order


def event_of(topic: str, **fields: Any) -> Any:
    return parse(topic, json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("fields", "phones"),
    [
        pytest.param({}, [], id="none"),
        pytest.param(
            {
                "phone": A,
                "customer": {"id": 2, "phone": B, "default_address": {"phone": E}},
                "shipping_address": {"phone": C},
                "billing_address": {"phone": D},
            },
            [A, B, C, D, E],
            id="order, customer, shipping, billing, default: in this order",
        ),
        pytest.param({"phone": A, "customer": {"id": 2, "phone": A}}, [A], id="each once"),
        pytest.param({"shipping_address": [], "billing_address": []}, [], id="addresses are arrays"),
        pytest.param({"shipping_address": None, "billing_address": {"phone": D}}, [D], id="only billing"),
        pytest.param({"customer": None}, [], id="customer null"),
        pytest.param({"phone": "   ", "shipping_address": {"phone": ""}}, [], id="blank"),
        pytest.param({"phone": 12025550100}, ["12025550100"], id="a number"),
        pytest.param({"phone": True, "shipping_address": {"phone": ["x"]}}, [], id="other types"),
        pytest.param(
            {"shipping_address": {"phone": "555-625-SHIP"}}, ["555-625-SHIP"], id="free text is kept as typed"
        ),
    ],
)
def test_candidates_for_a_text(fields: dict[str, Any], phones: list[str]) -> None:
    assert [phone.raw for phone in order(**fields).phones] == phones


@pytest.mark.parametrize(
    ("fields", "region"),
    [
        pytest.param({"phone": A, "shipping_address": {"country_code": "gr"}}, "GR", id="the shipping address's"),
        pytest.param(
            {"phone": A, "shipping_address": [], "billing_address": {"country_code": "DE"}}, "DE", id="billing"
        ),
        pytest.param({"phone": A, "customer": {"default_address": {"country_code": "FR"}}}, "FR", id="default"),
        pytest.param({"phone": A, "shipping_address": {"country_code": "Greece"}}, None, id="no code"),
        pytest.param({"phone": A}, None, id="nowhere"),
        pytest.param(
            {"shipping_address": {"phone": A, "country_code": "SE"}, "billing_address": US}, "SE", id="its own"
        ),
    ],
)
def test_a_phone_is_read_in_the_country_of_its_address(fields: dict[str, Any], region: str | None) -> None:
    assert order(**fields).phones == (RawPhone(A, region),)


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        pytest.param({"id": 2**63 - 1}, "id", 2**63 - 1, id="the largest id"),
        pytest.param({"total_price": "14319", "currency": "JPY"}, "total", Decimal(14319), id="JPY has no decimals"),
        pytest.param({"total_price": "19.99"}, "total", Decimal("19.99"), id="money is exact"),
        pytest.param({"total_price": 19.99}, "total", Decimal("19.99"), id="money as a float"),
        pytest.param({"total_price": "NaN"}, "total", None, id="not a number"),
        pytest.param({"total_price": "1e999"}, "total", None, id="more than there is"),
        pytest.param({"total_price": ""}, "total", None, id="no money"),
        pytest.param({"currency": "USD", "presentment_currency": "EUR"}, "currency", "EUR", id="what the buyer saw"),
        pytest.param({"currency": "USD"}, "currency", "USD", id="the shop's currency"),
        pytest.param({"email": None, "contact_email": "a@example.com"}, "email", "a@example.com", id="contact e-mail"),
        pytest.param({"email": ""}, "email", None, id="an empty e-mail is none"),
        pytest.param({"customer_locale": None, "customer": {"locale": "el"}}, "locale", "el", id="customer's locale"),
        pytest.param({"name": "#1\x00001"}, "name", "#1001", id="NUL is dropped"),
        pytest.param({"name": "n" * 600}, "name", "n" * 500, id="text has an end"),
        pytest.param({"test": True}, "is_test", True, id="test"),
        pytest.param({"test": "true"}, "is_test", False, id="test as text"),
        pytest.param({"source_name": 580111}, "source_name", "580111", id="an app's number"),
        pytest.param({"shipping_address": US}, "address", Address("US", "NY", "10001"), id="shipping first"),
        pytest.param(
            {"shipping_address": [], "billing_address": US}, "address", Address("US", "NY", "10001"), id="billing"
        ),
    ],
)
def test_an_orders_facts(fields: dict[str, Any], name: str, expected: object) -> None:
    assert getattr(order(**fields), name) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T10:00:00-05:00", datetime(2026, 11, 22, 15, tzinfo=UTC)),
        ("2026-11-22T15:00:00Z", datetime(2026, 11, 22, 15, tzinfo=UTC)),
        ("2026-11-22T15:00:00.123456Z", datetime(2026, 11, 22, 15, 0, 0, 123456, tzinfo=UTC)),
        ("2026-11-22 15:00:00.000Z", datetime(2026, 11, 22, 15, tzinfo=UTC)),
        ("2026-11-22T15:00:00", datetime(2026, 11, 22, 15, tzinfo=UTC)),
        ("2026-11-22T15:00:00.3091182Z", datetime(2026, 11, 22, 15, 0, 0, 309118, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        (None, None),
        (1_700_000_000, None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("2026-02-30T00:00:00Z", None),
    ],
)
def test_times_of_any_offset(text: object, expected: datetime | None) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param(None, None, id="null"),
        pytest.param({"state": None, "opt_in_level": None, "consent_updated_at": None}, None, id="everything null"),
        pytest.param({"state": "a state of 2027"}, None, id="an unknown state is not guessed at"),
        pytest.param({"state": "SUBSCRIBED"}, Consent(ConsentState.SUBSCRIBED, None, None), id="upper case"),
        pytest.param(
            {"state": "not_subscribed", "opt_in_level": "SINGLE_OPT_IN", "consent_updated_at": "2026-11-22T15:00:00Z"},
            Consent(ConsentState.NOT_SUBSCRIBED, OptInLevel.SINGLE, datetime(2026, 11, 22, 15, tzinfo=UTC)),
            id="complete",
        ),
        pytest.param(
            {"state": "unsubscribed", "opt_in_level": "other"},
            Consent(ConsentState.UNSUBSCRIBED, None, None),
            id="an unknown level",
        ),
    ],
)
@pytest.mark.parametrize("topic", ["customers_marketing_consent/update", "customers/update"])
def test_consent_in_both_shapes(topic: str, said: Any, expected: Consent | None) -> None:
    event = event_of(topic, id=7, phone=A, sms_marketing_consent=said)
    found = event.consent if isinstance(event, ConsentChanged) else event.customer.sms_consent
    assert found == expected


def test_a_customer_without_an_id_is_unusable() -> None:
    with pytest.raises(UnusableBody, match="id"):
        event_of("customers/create", email="a@example.com")
    assert isinstance(event_of("customers/create", id=1), CustomerChanged)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"status": "success", "shipment_status": None}, "success"),
        ({"status": "success", "shipment_status": "delivered"}, "delivered"),
        ({"status": None}, "unknown"),
        ({"status": "success", "shipment_status": "teleported"}, "teleported"),
    ],
)
def test_a_parcels_status(fields: dict[str, Any], status: str) -> None:
    event = event_of("fulfillments/update", id=1, order_id=2, **fields)
    assert isinstance(event, FulfillmentChanged)
    assert event.status == status


def test_a_parcel_without_destination_or_tracking() -> None:
    event = event_of(
        "fulfillments/create", id=1, order_id=2, destination=None, tracking_urls=[None, "https://t.example.com"]
    )
    assert (event.phones, event.address, event.tracking_url) == ((), None, "https://t.example.com")


def test_a_scan_carries_ids_only() -> None:
    event = event_of("fulfillment_events/create", id=1, fulfillment_id=2, order_id=3, status="out_for_delivery")
    assert event == ShipmentEvent(1, 2, 3, "out_for_delivery", None)


def test_a_checkouts_marketing_phone_comes_first_and_only_with_consent() -> None:
    fields = {"token": "t", "phone": A, "sms_marketing_phone": B, "shipping_address": []}
    yes = event_of("checkouts/update", **fields, buyer_accepts_sms_marketing=True)
    no = event_of("checkouts/update", **fields, buyer_accepts_sms_marketing=False)
    assert isinstance(yes, CheckoutChanged)
    assert [phone.raw for phone in yes.phones] == [B, A]
    assert [phone.raw for phone in no.phones] == [A]


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), (False, False), (None, None), ("false", None), (0, None)]
)
def test_whether_shopify_texts_too(value: object, expected: bool | None) -> None:
    event = event_of("shop/update", transactional_sms_disabled=value, iana_timezone="Europe/Athens", country_code="GR")
    assert isinstance(event, ShopChanged)
    assert event.transactional_sms_disabled is expected
    assert (event.timezone, event.country) == ("Europe/Athens", "GR")


@pytest.mark.parametrize(
    "topic", ["orders/edited", "orders/delete", "carts/update", "products/update", "", *sorted(COMPLIANCE_TOPICS)]
)
def test_what_is_not_read_is_no_event(topic: str) -> None:
    assert parse(topic, b"not even JSON") is None


@pytest.mark.parametrize(
    ("topic", "fields", "expected"),
    [
        ("orders/create", {"id": 5}, "order:5"),
        ("fulfillments/update", {"id": 6, "order_id": 5}, "fulfillment:6"),
        ("fulfillment_events/create", {"id": 7, "fulfillment_id": 6, "order_id": 5}, "fulfillment:6"),
        ("customers/update", {"id": 8}, "customer:8"),
        ("customers_marketing_consent/update", {"id": 8}, "customer:8"),
        ("checkouts/create", {"token": "secret"}, None),
        ("app/uninstalled", {"id": 9}, None),
    ],
)
def test_what_an_event_is_about(topic: str, fields: dict[str, Any], expected: str | None) -> None:
    event = event_of(topic, **fields)
    assert event is not None
    assert object_id(event) == expected


@pytest.mark.parametrize(
    ("body", "shop"),
    [
        (b'{"shop_domain": "a.myshopify.com"}', "a.myshopify.com"),
        (b'{"shop_id": 1}', None),
        (b'{"shop_domain": 5}', "5"),
    ],
)
def test_the_shop_that_a_compliance_body_names(body: bytes, shop: str | None) -> None:
    assert compliance_shop(body) == shop


@pytest.mark.parametrize("topic", ["orders/create", "customers/update", "fulfillments/update", "checkouts/update"])
@hypothesis_settings(max_examples=40)
@given(
    body=st.dictionaries(
        st.sampled_from(["id", "order_id", "customer", "phone", "shipping_address", "total_price", "updated_at"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "phone"]), inner),
            max_leaves=5,
        ),
    )
)
def test_any_json_is_an_event_or_unusable_and_never_quoted(topic: str, body: dict[str, Any]) -> None:
    secret = "+12025550199 of x@example.com"
    raw = json.dumps({**body, "email": secret, "first_name": {"x": secret}, "customer_locale": [secret]}).encode()
    assert secret not in spoken(topic, raw)


@pytest.mark.parametrize("value", ['"+12025550199"', '{"a": "+12025550199"}', "12025550199e400", '["+12025550199"]'])
@pytest.mark.parametrize("field", ["id", "customer", "shipping_address"])
def test_no_reason_quotes_the_body(field: str, value: str) -> None:
    assert "2025550199" not in spoken("orders/create", f'{{"id": 1, "{field}": {value}}}'.encode())


def spoken(topic: str, raw: bytes) -> str:
    """What a log could show of the outcome."""
    try:
        return repr(parse(topic, raw))
    except UnusableBody as unusable:
        return str(unusable)
