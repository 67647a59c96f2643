"""Bodies and headers that nobody honest sends: the stated answer, a reason at the first attempt, no harm to others."""

import asyncio
import base64
import hashlib
import hmac
from typing import Any

import pytest

from smsblossom.sandbox import phones
from smsblossom.sandbox.shopify_catalogue import web_order
from smsblossom.sandbox.shopify_orders import order_body
from smsblossom.sandbox.shopify_shapes import Ids, encode
from tests.support.running import SECRET, Service, Shop
from tests.support.wire import raw_post

DEEP = 100_000


def good(service: Service, seed: int) -> bytes:
    return encode(order_body(web_order(Ids(seed), service.now(), phones.plain(seed))))


UNUSABLE = [
    pytest.param(b'{"id": 1, "name": "#1"', "not JSON: Input data was truncated", id="truncated"),
    pytest.param(b"id=1&name=x", "not JSON: JSON is malformed", id="a form"),
    pytest.param(b"\x00", "not JSON: JSON is malformed", id="one NUL byte"),
    pytest.param(b'{"id": 1, "name": "a\x00b"}', "not JSON: JSON is malformed", id="a raw NUL in a string"),
    pytest.param(b'{"id": 1, "name": "\xff\xfe"}', "not JSON: ", id="not UTF-8"),
    pytest.param(b'{"id": 1, "name": "\xed\xa0\x80"}', "not JSON: ", id="a lone surrogate in UTF-8"),
    pytest.param(b'{"id": 1, "name": "\\ud800"}', "not JSON: ", id="a lone surrogate escaped"),
    pytest.param(b"[]", "not of the topic's shape: Expected `object`, got `array`", id="an array"),
    pytest.param(b"null", "not of the topic's shape: Expected `object`, got `null`", id="null"),
    pytest.param(b"{}", "not of the topic's shape: Object missing required field `id`", id="no id"),
    pytest.param(b'{"id": null}', "not of the topic's shape: Expected `int`, got `null` - at `$.id`", id="id null"),
    pytest.param(b'{"id": "1"}', "not of the topic's shape: Expected `int`, got `str` - at `$.id`", id="id text"),
    pytest.param(b'{"id": 1.5}', "not of the topic's shape: Expected `int`, got `float` - at `$.id`", id="id 1.5"),
    pytest.param(b'{"id": 0}', "not of the topic's shape: Expected `int` >= 1 - at `$.id`", id="id 0"),
    pytest.param(b'{"id": 9223372036854775808}', "not of the topic's shape: ", id="id of 64 bits and one"),
    pytest.param(b'{"id": ' + b"9" * 400 + b"}", "not ", id="id of 400 digits"),
    pytest.param(b'{"id": 1, "customer": {"id": 1e400}}', "not ", id="id 1e400"),
    pytest.param(b'{"id": 1, "customer": "x"}', "not of the topic's shape: ", id="customer a string"),
    pytest.param(b'{"id": 1, "note": ' + b"[" * DEEP + b"]" * DEEP + b"}", "nested too deep", id="deep arrays"),
    pytest.param(
        b'{"id": 1, "note": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}", "nested too deep", id="deep objects"
    ),
]


@pytest.mark.parametrize(("body", "reason"), UNUSABLE)
async def test_an_unusable_body_is_rejected_at_once_and_its_neighbours_are_not(
    service: Service, shop: Shop, body: bytes, reason: str
) -> None:
    neighbours = [good(service, seed) for seed in range(1, 6)]
    answers = await asyncio.gather(
        *(shop.post("orders/create", each) for each in (*neighbours[:3], body, *neighbours[3:]))
    )
    assert {status for status, _ in answers} == {200}
    await shop.settled()
    rows = await shop.fetch("webhook_events")
    assert sorted(row["state"] for row in rows) == ["processed"] * 5 + ["rejected"]
    (rejected,) = (row for row in rows if row["state"] == "rejected")
    assert rejected["reason"].startswith(reason)
    assert await service.rows.fetchval("SELECT count(*) FROM dead_letters WHERE shop_id = $1", shop.id) == 0


USABLE = [
    pytest.param({"id": 2**63 - 1}, id="the largest id"),
    pytest.param({"id": 1, "name": "a\x00b", "email": "\x00", "customer": {"id": 2, "first_name": "\x00"}}, id="NUL"),
    pytest.param({"id": 1, "name": "n" * 100_000, "checkout_token": ["x"], "currency": 7}, id="long and mistyped"),
    pytest.param({"id": 1, "shipping_address": [], "billing_address": [], "customer": None}, id="address []"),
    pytest.param(
        {"id": 1, "processed_at": "0001-01-01T00:00:00Z", "updated_at": "9999-12-31T23:59:59-14:00"}, id="ends of time"
    ),
    pytest.param(
        {"id": 1, "processed_at": "yesterday", "updated_at": 5, "total_price": "NaN"}, id="no dates, no money"
    ),
    pytest.param({"id": 1, "total_price": "1e999999", "phone": {"a": 1}}, id="endless money"),
    pytest.param({"id": 1, "phone": "9" * 10_000, "shipping_address": {"phone": "\u202e+1" * 50}}, id="absurd phones"),
    pytest.param({"id": 1, "email": "a@example.com" * 1000, "customer_locale": "\u0000"}, id="absurd e-mail"),
]


@pytest.mark.parametrize("body", USABLE)
async def test_an_odd_body_of_the_right_shape_is_processed(shop: Shop, body: dict[str, Any]) -> None:
    await shop.taken("orders/create", body)
    assert await shop.inbox() == [("processed", None)]
    assert [row["id"] for row in await shop.fetch("orders")] == [body["id"]]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "image/png", "nonsense"])
async def test_the_content_type_does_not_matter(service: Service, shop: Shop, content_type: str) -> None:
    body = good(service, 1)
    assert (await shop.send(body, {**shop.signed("orders/create", body), "Content-Type": content_type}))[0] == 200
    await shop.settled()
    assert await shop.inbox() == [("processed", None)]


def signed(body: bytes, shop: Shop) -> dict[bytes, bytes]:
    digest = hmac.digest(SECRET.encode(), body, hashlib.sha256)
    return {
        b"X-Shopify-Topic": b"orders/create",
        b"X-Shopify-Shop-Domain": shop.domain.encode(),
        b"X-Shopify-Webhook-Id": b"raw-1",
        b"X-Shopify-Hmac-Sha256": base64.b64encode(digest),
    }


@pytest.mark.parametrize(
    ("name", "value", "answers"),
    [
        pytest.param("Topic", b"orders/cr\xe9ate", {400}, id="topic above 127"),
        pytest.param("Topic", "orders/créate".encode(), {400}, id="topic in UTF-8"),
        pytest.param("Topic", b"t" * 101, {400}, id="a topic without end"),
        pytest.param("Hmac-Sha256", b"\xff" * 44, {401}, id="signature above 127"),
        pytest.param("Hmac-Sha256", "é".encode() * 22, {401}, id="signature in UTF-8"),
        pytest.param("Shop-Domain", b"\xe9.myshopify.com", {400}, id="domain above 127"),
        pytest.param("Shop-Domain", b"a.myshopify.com\n", {400}, id="domain and a line feed"),
        pytest.param("Shop-Domain", b"a.myshopify.com\r\n ", {400}, id="domain and a folded line"),
        pytest.param("Shop-Domain", b"a.myshopify.com\x00", {400}, id="domain and a NUL"),
        pytest.param("Shop-Domain", b"a.myshopify.com\x0b", {400}, id="domain and a vertical tab"),
    ],
)
async def test_header_bytes_that_no_client_sends(
    service: Service, shop: Shop, name: str, value: bytes, answers: set[int]
) -> None:
    body = good(service, 2)
    headers = {**signed(body, shop), f"X-Shopify-{name}".encode(): value}
    assert await raw_post(service.url, "/webhooks/shopify", list(headers.items()), body) in answers
    assert await shop.inbox() == []


@pytest.mark.parametrize("name", ["Webhook-Id", "Event-Id", "API-Version", "Triggered-At", "Name"])
@pytest.mark.parametrize("value", [b"caf\xe9", b"\xf0\x9f\x8c\xb8", b"w" * 4000])
async def test_odd_bytes_where_any_text_will_do(service: Service, shop: Shop, name: str, value: bytes) -> None:
    body = good(service, 3)
    headers = {**signed(body, shop), f"X-Shopify-{name}".encode(): value}
    for _ in range(2):
        assert await raw_post(service.url, "/webhooks/shopify", list(headers.items()), body) == 200
    await shop.settled()
    assert await shop.inbox() == [("processed", None)]


async def test_after_all_that_the_worker_still_works(service: Service, shop: Shop) -> None:
    await shop.taken("orders/create", good(service, 4))
    assert await shop.verdicts() == ["order_created: send"]
