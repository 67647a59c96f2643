"""Bodies, signatures and dates of the fake Shopify, checked without any code of the sandbox itself."""

import binascii
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsblossom.sandbox import phones
from smsblossom.sandbox.shopify import Chaos, catalogue, delivery_of, disturbed, headers, redate, sign
from smsblossom.sandbox.shopify_catalogue import web_order
from smsblossom.sandbox.shopify_orders import order_body
from smsblossom.sandbox.shopify_shapes import Ids, encode

NOW = datetime(2026, 11, 22, 15, 30, tzinfo=UTC)
SAMPLES = {sample.name: sample for sample in catalogue(NOW, seed=1)}
TOPICS = {
    *("orders/create", "orders/paid", "orders/updated", "orders/cancelled", "orders/fulfilled"),
    *("fulfillments/create", "fulfillments/update", "fulfillment_events/create"),
    *("checkouts/create", "checkouts/update", "checkouts/delete", "customers/create", "customers/update"),
    *("customers_marketing_consent/update", "app/uninstalled", "shop/update"),
    *("customers/data_request", "customers/redact", "shop/redact"),
}


def parsed(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(SAMPLES[name].body)
    return body


def rfc2104(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256 from its definition, for keys of up to 64 bytes."""
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).digest()


def values(node: object) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield key, value
            yield from values(value)
    elif isinstance(node, list):
        for value in node:
            yield from values(value)


def test_every_topic_has_a_sample_and_names_are_unique() -> None:
    assert {sample.topic for sample in SAMPLES.values()} == TOPICS
    assert len(SAMPLES) == len(catalogue(NOW, seed=1)) >= 25


def test_a_run_repeats_by_seed() -> None:
    assert catalogue(NOW, seed=1) == catalogue(NOW, seed=1)
    assert catalogue(NOW, seed=1) != catalogue(NOW, seed=2)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_body_is_compact_json_escaped_like_shopifys(name: str) -> None:
    body = SAMPLES[name].body
    text = body.decode()
    assert not re.search(r'(?<!\\)/|&|[<>]|", |": |\n', text)
    assert encode(json.loads(body)) == body
    assert encode({"url": "https://a.example/?b=1&c=<d>"}) == (
        rb'{"url":"https:\/\/a.example\/?b=1\u0026c=\u003cd\u003e"}'
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_ids_are_whole_64_bit_numbers_and_money_is_text(name: str) -> None:
    for key, value in values(parsed(name)):
        if key in {"price", "total_price", "amount", "subtotal_price", "line_price"}:
            assert isinstance(value, str), key
        if key == "id":
            assert type(value) is int
            assert 0 < value < 2**63
    order = parsed("web order")
    assert int(float(order["id"])) != order["id"], "a double would have rounded it"


@pytest.mark.parametrize("name", [name for name, sample in SAMPLES.items() if sample.topic.startswith("orders/")])
def test_orders_have_the_2026_04_shape_and_are_fresh(name: str) -> None:
    order = parsed(name)
    assert "checkout_id" not in order
    assert not {"sms_marketing_consent", "tags", "orders_count"} & set(order.get("customer") or {})
    assert datetime.fromisoformat(order["created_at"]) == NOW - timedelta(seconds=1)
    assert len({datetime.fromisoformat(order[key]).utcoffset() for key in ("created_at", "updated_at")}) == 2


def test_the_shapes_that_trip_parsers() -> None:
    assert parsed("POS order, customer null")["customer"] is None
    assert parsed("POS order, customer null")["shipping_address"] is None
    assert "customer" not in parsed("guest order, customer key absent")
    draft = parsed("draft order without customer or address")
    assert "customer" not in draft
    assert draft["shipping_address"] is None
    assert draft["source_name"] == "shopify_draft_order"
    assert parsed("JPY order")["total_price"] == "14319"
    assert parsed("unicode names")["customer"]["first_name"] == "Ζωή"
    assert parsed("test order")["test"] is True
    assert "555" not in json.dumps(parsed("web order without any phone")["customer"])
    imported = parsed("imported old order")
    assert NOW - datetime.fromisoformat(imported["processed_at"]) == timedelta(days=400)
    several = parsed("several different phones")
    holders = (several, several["customer"], several["shipping_address"], several["billing_address"])
    assert len({holder["phone"] for holder in holders}) == 4
    checkout = parsed("guest checkout without contact, address []")
    assert checkout["shipping_address"] == []
    assert "id" not in checkout
    assert checkout["token"]
    assert parsed("old shape, subscribed")["sms_marketing_consent"]["state"] == "subscribed"
    assert "sms_marketing_consent" not in parsed("new customer, no consent in the body")
    assert parsed("pick-up, destination null")["destination"] is None
    assert parsed("parcel out_for_delivery")["shipment_status"] == "out_for_delivery"


def test_a_body_of_the_size_of_the_benchmark_can_be_made() -> None:
    assert 11_000 < len(encode(order_body(web_order(Ids(1), NOW, phones.plain(0), lines=7)))) < 13_000


@pytest.mark.parametrize("body", [b"", b"{}", SAMPLES["unicode names"].body], ids=["empty", "braces", "unicode"])
def test_the_signature_is_the_standards(body: bytes) -> None:
    expected = binascii.b2a_base64(rfc2104(b"hush", body), newline=False).decode()
    assert expected == sign(body, "hush")


def test_both_header_families() -> None:
    sample = SAMPLES["web order"]
    facts: dict[str, Any] = {
        "shop": "a.myshopify.com",
        "secret": "hush",
        "webhook_id": "w",
        "event_id": "e",
        "triggered_at": NOW,
    }
    classic = headers(sample.topic, sample.body, **facts)
    assert classic == {
        "Content-Type": "application/json",
        "User-Agent": "Shopify-Captain-Hook",
        "X-Shopify-Topic": "orders/create",
        "X-Shopify-Hmac-Sha256": sign(sample.body, "hush"),
        "X-Shopify-Shop-Domain": "a.myshopify.com",
        "X-Shopify-API-Version": "2026-10",
        "X-Shopify-Webhook-Id": "w",
        "X-Shopify-Event-Id": "e",
        "X-Shopify-Triggered-At": "2026-11-22T15:30:00.000000Z",
    }
    plain = headers(sample.topic, sample.body, family="plain", **facts)
    assert {key.lower().removeprefix("x-"): value for key, value in classic.items()} == {
        key.lower(): value for key, value in plain.items()
    }
    bare = headers(sample.topic, sample.body, **{**facts, "event_id": None, "triggered_at": None})
    assert set(classic) - set(bare) == {"X-Shopify-Event-Id", "X-Shopify-Triggered-At"}


def test_fictional_numbers_are_valid_unless_named_otherwise() -> None:
    us = [phones.plain(index) for index in range(phones.PLAIN_NUMBERS)]
    assert len(set(us)) == len(us) > 10_000
    assert all(re.fullmatch(r"\+1\d{3}55501[1-9]\d", number) for number in us)
    magic = [phones.magic(ending, index) for ending in range(1, 9) for index in range(len(phones.AREA_CODES))]
    others = [phones.german(8), phones.swedish(5), phones.australian(5)]
    for number in [*us[::45], *magic, *others]:
        assert phonenumbers.is_valid_number(phonenumbers.parse(number)), number
    for number in (phones.UK_INVALID, phones.FR_INVALID):
        assert not phonenumbers.is_valid_number(phonenumbers.parse(number))


OLD = (
    b'{ "created_at": "2019-01-01 00:00:00.000Z", "note": "\\/ 12",\n'
    b'  "updated_at": "2019-01-01T01:00:00-05:00", "id": 820982911946154508,'
    b'  "closed_at": null, "estimated_delivery_at": "2019-01-02T00:00:00+0000" }'
)


def test_redate_moves_the_newest_stamp_to_a_second_ago_and_nothing_else() -> None:
    expected = (
        b'{ "created_at": "2026-11-22 09:29:59.000Z", "note": "\\/ 12",\n'
        b'  "updated_at": "2026-11-22T10:29:59-05:00", "id": 820982911946154508,'
        b'  "closed_at": null, "estimated_delivery_at": "2026-11-23T09:29:59+0000" }'
    )
    assert expected == redate(OLD, NOW)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"id":1}', b'{"created_at":"example string"}', b'{"created_at":"2019-13-41T00:00:00Z"}', b"\xff\xfe"],
)
def test_redate_leaves_alone_what_has_no_date(body: bytes) -> None:
    assert body == redate(body, NOW)


def test_redate_uses_any_stamp_when_the_three_keys_are_absent() -> None:
    assert redate(b'{"occurredAt":"2005-05-05T04:00:00.000Z"}', NOW) == b'{"occurredAt":"2026-11-22T15:29:59.000Z"}'


@given(
    st.lists(st.integers(-(10**9), 10**8), min_size=1, max_size=5),
    st.integers(-14, 14),
)
def test_redate_keeps_differences_and_offsets(seconds: list[int], hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    before = [(NOW + timedelta(seconds=each)).astimezone(zone) for each in seconds]
    body = json.dumps([{"created_at": moment.isoformat()} for moment in before]).encode()
    after = [datetime.fromisoformat(entry["created_at"]) for entry in json.loads(redate(body, NOW))]
    assert max(after) == NOW - timedelta(seconds=1)
    assert [moment - max(after) for moment in after] == [moment - max(before) for moment in before]
    assert {moment.utcoffset() for moment in after} == {timedelta(hours=hours)}


def test_a_disturbed_run_accounts_for_every_delivery() -> None:
    ids = Ids(3)
    clean = [delivery_of(SAMPLES["web order"], ids, shop="a.myshopify.com", triggered_at=NOW) for _ in range(2_000)]
    chaos = Chaos(seed=5, drop=0.05, repeat=0.1, duplicate=0.1, shuffle=True)
    result = disturbed(clean, chaos)
    assert result == disturbed(clean, chaos)
    assert 60 < len(result.dropped) < 140
    originals = {delivery.webhook_id for delivery in clean}
    lost = {delivery.webhook_id for delivery in result.dropped}
    sent = [delivery.webhook_id for delivery in result.sent]
    assert originals - lost == originals & set(sent)
    assert 140 < len(set(sent) - originals) < 240
    events = [delivery.event_id for delivery in clean]
    assert {delivery.event_id for delivery in result.sent} <= set(events)
    assert [delivery.event_id for delivery in result.sent][:50] != events[:50]
