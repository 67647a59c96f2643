"""One sample of every shape the builders know, with fresh dates: for the demo, for tests, and to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from smsblossom.sandbox import phones
from smsblossom.sandbox.shopify_orders import (
    Order,
    fulfillment_body,
    fulfillment_event_body,
    new_fulfillment,
    new_line,
    new_order,
    order_body,
)
from smsblossom.sandbox.shopify_others import (
    Checkout,
    checkout_body,
    checkout_deleted_body,
    compliance_body,
    consent,
    consent_update_body,
    customer_body,
    old_customer_body,
    shop_body,
)
from smsblossom.sandbox.shopify_shapes import ATHENS, TOKYO, Address, Body, Customer, Ids, encode

SHOP = "blossom-sandbox.myshopify.com"


@dataclass(frozen=True, slots=True)
class Sample:
    """A webhook ready to be signed and posted; `name` says what is special about it."""

    name: str
    topic: str
    body: bytes


def catalogue(now: datetime, seed: int = 0, *, shop: str = SHOP) -> list[Sample]:
    """At least one sample per shape, repeatable by (now, seed); events happened a second before `now`."""
    ids = Ids(seed)
    shapes = (*_orders(ids, now), *_later_orders(ids, now), *_parcels(ids, now), *_checkouts(ids, now))
    shapes += (*_customers(ids, now), *_shop(ids, now, shop))
    return [Sample(name, topic, encode(body)) for name, topic, body in shapes]


def sample_customer(ids: Ids, phone: str | None = None, **facts: str | None) -> Customer:
    """A customer whose default address carries the same phone."""
    return Customer(id=ids.number(), phone=phone, address=Address(phone=phone), **facts)  # type: ignore[arg-type]


def web_order(ids: Ids, now: datetime, phone: str | None, *, number: int = 1001, lines: int = 1) -> Order:
    """The everyday order: an account, an address, and a phone on all of them."""
    customer, address = sample_customer(ids, phone), Address(phone=phone)
    return new_order(
        ids,
        now,
        number=number,
        lines=lines,
        customer=customer,
        email=customer.email,
        phone=phone,
        shipping_address=address,
        billing_address=address,
    )


Shape = tuple[str, str, Body]


def _orders(ids: Ids, now: datetime) -> Iterator[Shape]:
    web = web_order(ids, now, phones.plain(0))
    for name, order in (
        ("web order", web),
        ("web order, many lines", web_order(ids, now, phones.plain(1), number=1002, lines=5)),
        ("POS order, customer null", _pos(ids, now)),
        ("guest order, customer key absent", _guest(ids, now)),
        ("draft order without customer or address", _draft(ids, now)),
        ("unicode names", _unicode(ids, now)),
        ("JPY order", _jpy(ids, now)),
        ("web order without any phone", web_order(ids, now, None, number=1008)),
        ("several different phones", _several_phones(ids, now)),
        ("phone typed by hand in the address", _local_phone(ids, now)),
        ("unusable phone with letters", _unusable_phone(ids, now)),
        ("fictional UK phone, no valid number", _uk(ids, now)),
        ("test order", replace(web_order(ids, now, phones.plain(9), number=1013), test=True)),
        ("imported old order", _imported(ids, now)),
        ("buyer paid in another currency", _presentment(ids, now)),
    ):
        yield name, "orders/create", order_body(order)


def _pos(ids: Ids, now: datetime) -> Order:
    return new_order(
        ids,
        now,
        number=1003,
        source_name="pos",
        app_id=129_785,
        location_id=655_441_491,
        user_id=799_407_056,
        checkout_token=None,
        cart_token=None,
        landing_site=None,
        financial_status="paid",
        fulfillment_status="fulfilled",
    )


def _guest(ids: Ids, now: datetime) -> Order:
    address = Address(first_name="Kim", last_name="Guest", phone=phones.plain(3))
    guest = new_order(ids, now, number=1004, email="kim@example.com", shipping_address=address, customer_key=False)
    return replace(guest, billing_address=address)


def _draft(ids: Ids, now: datetime) -> Order:
    draft = new_order(ids, now, number=1005, source_name="shopify_draft_order", app_id=1_354_745)
    return replace(draft, checkout_token=None, cart_token=None, customer_key=False, landing_site=None)


def _unicode(ids: Ids, now: datetime) -> Order:
    order = web_order(ids, now.astimezone(ATHENS), phones.german(20), number=1006)
    address = Address(
        first_name="Ζωή",
        last_name="Παπαδοπούλου-Ñúñez 🌸",
        address1="Οδός Παραδείγματος 1",
        city="Αθήνα",
        zip="105 57",
        province=None,
        province_code=None,
        country="Greece",
        country_code="GR",
        phone=phones.german(20),
    )
    customer = Customer(
        id=ids.number(), first_name="Ζωή", last_name=address.last_name, phone=phones.german(20), address=address
    )
    return replace(order, customer=customer, shipping_address=address, billing_address=address, locale="el-GR")


def _jpy(ids: Ids, now: datetime) -> Order:
    address = Address(
        first_name="花子",
        last_name="見本",
        address1="見本町1-1",
        city="千代田区",
        zip="100-0001",
        province="東京都",
        province_code="JP-13",
        country="Japan",
        country_code="JP",
        phone="03-0000-0000",
    )
    order = web_order(ids, now.astimezone(TOKYO), phones.plain(5), number=1007)
    lines = (new_line(ids, price="14319"),)
    return replace(
        order, currency="JPY", lines=lines, shipping_address=address, billing_address=address, locale="ja-JP"
    )


def _several_phones(ids: Ids, now: datetime) -> Order:
    order = web_order(ids, now, phones.plain(6), number=1009)
    return replace(
        order,
        customer=sample_customer(ids, phones.plain(7)),
        shipping_address=Address(phone=phones.swedish(55)),
        billing_address=Address(phone=phones.australian(1)),
    )


def _local_phone(ids: Ids, now: datetime) -> Order:
    order = web_order(ids, now, None, number=1010)
    return replace(order, shipping_address=Address(phone="(202) 555-0142"))


def _unusable_phone(ids: Ids, now: datetime) -> Order:
    order = web_order(ids, now, None, number=1011)
    return replace(order, shipping_address=Address(phone=phones.UNUSABLE_LOCAL))


def _uk(ids: Ids, now: datetime) -> Order:
    address = Address(city="London", country="United Kingdom", country_code="GB", phone=phones.UK_INVALID)
    order = web_order(ids, now, phones.UK_INVALID, number=1012)
    return replace(order, shipping_address=address, currency="GBP", locale="en-GB")


def _imported(ids: Ids, now: datetime) -> Order:
    order = web_order(ids, now, phones.plain(10), number=1014)
    return replace(order, processed_at=now - timedelta(days=400), source_name="1234567", app_id=1_234_567)


def _presentment(ids: Ids, now: datetime) -> Order:
    return replace(web_order(ids, now, phones.german(31), number=1015), presentment=("46.20", "EUR"), locale="de-DE")


def _later_orders(ids: Ids, now: datetime) -> Iterator[Shape]:
    paid = replace(web_order(ids, now, phones.plain(11), number=1016), financial_status="paid")
    yield "paid order", "orders/paid", order_body(paid)
    yield "updated order", "orders/updated", order_body(replace(paid, tags="vip, gift"))
    gone = now - timedelta(seconds=1)
    cancelled = replace(paid, financial_status="refunded", cancelled_at=gone, closed_at=gone, cancel_reason="customer")
    yield "cancelled order", "orders/cancelled", order_body(cancelled)
    parcel = new_fulfillment(ids, now, paid, destination=paid.shipping_address)
    fulfilled = replace(paid, fulfillment_status="fulfilled", fulfillments=(parcel,), closed_at=gone)
    yield "fulfilled order", "orders/fulfilled", order_body(fulfilled)


def _parcels(ids: Ids, now: datetime) -> Iterator[Shape]:
    order = replace(web_order(ids, now, phones.plain(12), number=1017), financial_status="paid")
    parcel = new_fulfillment(ids, now, order, destination=order.shipping_address)
    yield "parcel shipped", "fulfillments/create", fulfillment_body(parcel)
    pick_up = replace(new_fulfillment(ids, now, order), tracking_company=None, tracking_number=None)
    yield "pick-up, destination null", "fulfillments/create", fulfillment_body(pick_up)
    for status in ("in_transit", "out_for_delivery", "delivered"):
        yield f"parcel {status}", "fulfillments/update", fulfillment_body(replace(parcel, shipment_status=status))
    for status in ("out_for_delivery", "ready_for_pickup"):
        body = fulfillment_event_body(ids, now, parcel, status)
        yield f"carrier event {status}", "fulfillment_events/create", body


def _checkouts(ids: Ids, now: datetime) -> Iterator[Shape]:
    moment = now - timedelta(seconds=1)
    guest = Checkout(
        token=ids.token(),
        cart_token=ids.token(),
        created_at=moment,
        updated_at=moment,
        lines=(new_line(ids, properties={}),),
    )
    yield "guest checkout without contact, address []", "checkouts/create", checkout_body(guest)
    named = replace(guest, email="robin@example.com", customer=sample_customer(ids, None))
    yield "checkout with e-mail, address []", "checkouts/update", checkout_body(named)
    consenting = replace(
        named,
        phone=phones.plain(13),
        sms_marketing_phone=phones.plain(13),
        buyer_accepts_sms_marketing=True,
        shipping_address=Address(phone=phones.plain(14)),
        billing_address=Address(phone=None),
    )
    yield "checkout with SMS consent", "checkouts/update", checkout_body(consenting)
    yield "checkout deleted", "checkouts/delete", checkout_deleted_body(consenting)


def _customers(ids: Ids, now: datetime) -> Iterator[Shape]:
    new = sample_customer(ids, phones.plain(15))
    moment = now - timedelta(seconds=1)
    yield "new customer, no consent in the body", "customers/create", customer_body(new, now)
    yield (
        "customer updated, phone gone",
        "customers/update",
        customer_body(replace(new, phone=None), now, created_at=now - timedelta(days=30)),
    )
    old = sample_customer(ids, phones.plain(16), email="old@example.com")
    subscribed = consent("subscribed", moment)
    yield "old shape, subscribed", "customers/create", old_customer_body(old, now, subscribed)
    yield "old shape, consent null", "customers/update", old_customer_body(old, now, None)
    yield "consent given", "customers_marketing_consent/update", consent_update_body(new, subscribed)
    withdrawn = consent("unsubscribed", moment, level="unknown", source="OTHER")
    yield "consent withdrawn", "customers_marketing_consent/update", consent_update_body(new, withdrawn)
    empty = consent(None, None, level=None, source="other")
    nameless = replace(new, phone=None)
    yield "consent, everything null", "customers_marketing_consent/update", consent_update_body(nameless, empty)


def _shop(ids: Ids, now: datetime, shop: str) -> Iterator[Shape]:
    customer, order_ids = sample_customer(ids, phones.plain(17)), (ids.number(), ids.number())
    yield "shop updated", "shop/update", shop_body(shop, now, zone="America/Los_Angeles")
    yield "app uninstalled", "app/uninstalled", shop_body(shop, now)
    yield (
        "data request",
        "customers/data_request",
        compliance_body("customers/data_request", shop, customer, order_ids),
    )
    yield "customer redact", "customers/redact", compliance_body("customers/redact", shop, customer, order_ids)
    yield "shop redact", "shop/redact", compliance_body("shop/redact", shop)
