"""What the receiver answers, in its order, and what it keeps: 405 413 401 400 503 200."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import structlog

from smsblossom.sandbox import phones
from smsblossom.sandbox.shopify_catalogue import web_order
from smsblossom.sandbox.shopify_orders import order_body
from smsblossom.sandbox.shopify_shapes import Ids, encode
from smsblossom.usecases import sweep
from tests.support.running import OLD_SECRET, SECRET, Service, Shop, another_web, of

PATH = "/webhooks/shopify"
TOO_LARGE = b" " * (11 * 1024 * 1024)


def order(service: Service, seed: int = 1) -> bytes:
    return encode(order_body(web_order(Ids(seed), service.now(), phones.plain(seed))))


def without(headers: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.removeprefix("X-Shopify-") not in names}


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD"])
async def test_only_post_is_allowed(service: Service, method: str) -> None:
    async with service.session.request(method, f"{service.url}{PATH}") as response:
        assert response.status == 405


async def test_a_body_over_ten_mebibytes_is_413_before_its_signature_is_looked_at(service: Service, shop: Shop) -> None:
    assert (await shop.send(TOO_LARGE, {}))[0] == 413
    assert (await shop.post("orders/create", TOO_LARGE))[0] == 413

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(TOO_LARGE), 1 << 20):
            yield TOO_LARGE[start : start + (1 << 20)]

    async with service.session.post(f"{service.url}{PATH}", data=chunks()) as response:
        assert response.status == 413
    assert await shop.inbox() == []


async def test_a_body_of_just_ten_mebibytes_is_kept(shop: Shop) -> None:
    body = b'{"id": 1}'.ljust(10 * 1024 * 1024)
    await shop.taken("products/update", body)
    ((row),) = await shop.fetch("webhook_events")
    assert (row["state"], row["body_bytes"]) == ("ignored", len(body))


@pytest.mark.parametrize(
    ("missing", "answer"),
    [
        pytest.param(("Topic",), 400, id="no topic"),
        pytest.param(("Shop-Domain",), 400, id="no shop"),
        pytest.param(("Topic", "Shop-Domain", "Hmac-Sha256"), 401, id="the signature comes first"),
        pytest.param(("Hmac-Sha256",), 401, id="no signature"),
        pytest.param(("Event-Id", "Triggered-At", "API-Version"), 200, id="what Shopify may leave out"),
    ],
)
async def test_missing_headers(service: Service, shop: Shop, missing: tuple[str, ...], answer: int) -> None:
    body = order(service)
    headers = without(shop.signed("orders/create", body), *missing)
    assert (await shop.send(body, headers))[0] == answer
    await shop.settled()
    assert await shop.inbox() == ([("processed", None)] if answer == 200 else [])


async def test_no_body_is_400(shop: Shop) -> None:
    assert await shop.post("orders/create", b"") == (400, "no body\n")


@pytest.mark.parametrize(
    "domain",
    [
        "example.com",
        "myshopify.com",
        ".myshopify.com",
        "-a.myshopify.com",
        "a.myshopify.com.example.com",
        "a.b.myshopify.com",
        "a_b.myshopify.com",
        f"{'a' * 100}.myshopify.com",
    ],
)
async def test_what_is_no_shop_domain_is_400(service: Service, shop: Shop, domain: str) -> None:
    body = order(service)
    status, answer = await shop.send(body, {**shop.signed("orders/create", body), "X-Shopify-Shop-Domain": domain})
    assert status == 400
    assert answer.startswith("no valid shop domain")


async def test_a_row_that_cannot_be_stored_in_time_is_503_and_stored_by_the_next_try(
    service: Service, shop: Shop
) -> None:
    body = order(service, 2)
    headers = shop.signed("orders/create", body)
    async with service.rows.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE webhook_events IN SHARE MODE")
        assert await shop.send(body, headers) == (503, "not stored, try again\n")
    assert (await shop.send(body, headers))[0] == 200
    await shop.settled()
    assert await shop.inbox() == [("processed", None)]
    assert await shop.verdicts() == ["order_created: send"]


@pytest.mark.parametrize("family", ["x", "plain"])
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title], ids=["lower", "upper", "title"])
async def test_both_header_families_in_any_case(service: Service, shop: Shop, family: Any, case: Any) -> None:
    body = order(service)
    headers = {case(name): value for name, value in shop.signed("orders/create", body, family=family).items()}
    assert (await shop.send(body, headers))[0] == 200
    await shop.settled()
    (row,) = await shop.fetch("webhook_events")
    assert (row["topic"], row["state"], row["api_version"]) == ("orders/create", "processed", "2026-10")
    assert None not in {row["shopify_event_id"], row["triggered_at"]}


@pytest.mark.parametrize(
    ("secret", "answer"), [(SECRET, 200), (OLD_SECRET, 200), (f"{SECRET},{OLD_SECRET}", 401), ("", 401)]
)
async def test_every_configured_secret_signs(shop: Shop, secret: str, answer: int) -> None:
    assert (await shop.post("products/update", b'{"id": 1}', secret=secret))[0] == answer


async def test_a_missing_webhook_id_is_made_from_the_body(service: Service, shop: Shop) -> None:
    one, other = order(service, 3), order(service, 4)
    for body in (one, one, other):
        assert (await shop.send(body, without(shop.signed("orders/create", body), "Webhook-Id")))[0] == 200
    await shop.settled()
    found = [row["webhook_id"] for row in await shop.fetch("webhook_events")]
    start = f"{shop.domain}\norders/create\n".encode()
    assert sorted(found) == sorted(f"sha256:{hashlib.sha256(start + body).hexdigest()}" for body in (one, other))


async def test_one_id_under_another_topic_is_another_delivery(service: Service, shop: Shop) -> None:
    webhook_id, body = str(uuid4()), order(service)
    for topic in ("orders/create", "orders/updated", "orders/create"):
        await shop.taken(topic, body, webhook_id=webhook_id)
    assert [row["topic"] for row in await shop.fetch("webhook_events")] == ["orders/create", "orders/updated"]


@pytest.mark.parametrize(
    ("path", "topic", "kept"),
    [
        pytest.param("/webhooks/shopify/orders/updated", None, "orders/updated", id="from the path"),
        pytest.param("/webhooks/shopify/orders/updated", "orders/create", "orders/create", id="the header wins"),
        pytest.param("/webhooks/shopify", "Orders/CREATE", "orders/create", id="another case"),
        pytest.param("/webhooks/shopify", "customer.tags_added", "customer.tags_added", id="dotted"),
    ],
)
async def test_the_topic(service: Service, shop: Shop, path: str, topic: str | None, kept: str) -> None:
    body = order(service)
    headers = shop.signed(topic or "", body)
    assert (await shop.send(body, headers if topic else without(headers, "Topic"), path=path))[0] == 200
    await shop.settled()
    assert [row["topic"] for row in await shop.fetch("webhook_events")] == [kept]


async def test_the_shop_domain_in_another_case_is_the_same_shop(service: Service, shop: Shop) -> None:
    body, (name, rest) = order(service), shop.domain.split(".", 1)
    headers = {**shop.signed("orders/create", body), "X-Shopify-Shop-Domain": f"{name.upper()}.{rest}"}
    assert (await shop.send(body, headers))[0] == 200
    await shop.settled()
    assert await shop.inbox() == [("processed", None)]


async def test_what_an_unknown_shop_sends_is_kept_and_ignored(service: Service) -> None:
    stranger = service.stranger()
    await stranger.taken("orders/create", order(service))
    assert await stranger.inbox() == [("ignored", "unknown shop")]
    assert await stranger.fetch("orders") == []


async def test_the_times_and_ids_of_a_delivery_are_kept(service: Service, shop: Shop) -> None:
    triggered_at = datetime(2026, 11, 20, 8, 30, 15, 250_000, tzinfo=UTC)
    await shop.taken("products/update", b'{"id": 1}', webhook_id="w-1", event_id="e-1", triggered_at=triggered_at)
    (row,) = await shop.fetch("webhook_events")
    assert (row["webhook_id"], row["shopify_event_id"], row["triggered_at"]) == ("w-1", "e-1", triggered_at)


async def test_a_given_request_id_leads_from_the_answer_to_the_last_receipt(service: Service, shop: Shop) -> None:
    body, request_id = order(service, 5), f"given-{uuid4().hex}"
    headers = shop.signed("orders/create", body, request_id=request_id)
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        async with service.session.post(f"{service.url}{PATH}", data=body, headers=headers) as response:
            assert response.headers["X-Request-Id"] == request_id
        await shop.settled(reported=True)
    for table in ("webhook_events", "runs", "decisions", "messages", "message_events"):
        assert {row["request_id"] for row in await shop.fetch(table)} == {request_id}, table
    told = {line["event"] for line in lines if line.get("request_id") == request_id}
    assert told >= {"webhook.accepted", "event.settled", "decision.made", "message.submitted", "receipt.applied"}
    (message,) = await shop.fetch("messages")
    assert [text.reference for text in await shop.texts()] == [str(message["id"])]


@pytest.mark.parametrize("given", [None, "", "with space", "x" * 65, "line\tbreak"])
async def test_an_unusable_request_id_is_replaced(service: Service, shop: Shop, given: str | None) -> None:
    headers = shop.signed("products/update", b"{}", request_id=given)
    async with service.session.post(f"{service.url}{PATH}", data=b"{}", headers=headers) as response:
        made = response.headers["X-Request-Id"]
    assert made != given
    assert len(made) == 32
    await shop.settled()
    assert [row["request_id"] for row in await shop.fetch("webhook_events")] == [made]


async def test_without_redis_a_webhook_is_taken_and_the_sweeper_finds_it(service: Service, shop: Shop) -> None:
    body = order(service, 6)
    async with another_web(service, redis_url="redis://127.0.0.1:1/0") as lonely:
        assert (await of(lonely, shop).send(body, shop.signed("orders/create", body)))[0] == 200
    assert await shop.inbox() == [("received", None)]
    with service.at(service.now() + 2 * sweep.GRACE):
        await service.sweep()
        await shop.settled()
    assert await shop.inbox() == [("processed", None)]
    assert await shop.verdicts() == ["order_created: send"]


class TestCompliance:
    """The three topics, by header and by path; each is owed, and never for somebody else's shop."""

    @pytest.mark.parametrize("topic", ["customers/data_request", "customers/redact", "shop/redact"])
    @pytest.mark.parametrize("path", [PATH, "/webhooks/gdpr/{topic}"])
    async def test_it_is_owed(self, service: Service, topic: str, path: str) -> None:
        stranger = service.stranger()
        body = {"shop_id": 1, "shop_domain": stranger.domain, "customer": {"id": 7, "phone": phones.plain(1)}}
        assert (await stranger.post(topic, body, path=path.format(topic=topic)))[0] == 200
        await stranger.settled()
        assert await stranger.inbox() == [("owed", "compliance duty")]

    async def test_a_body_that_names_another_shop_is_rejected(self, shop: Shop) -> None:
        await shop.taken("shop/redact", {"shop_id": 1, "shop_domain": "another.myshopify.com"})
        assert await shop.inbox() == [("rejected", "the body names another shop than the header")]

    async def test_a_broken_body_is_rejected(self, shop: Shop) -> None:
        await shop.taken("shop/redact", b'{"shop_id": 1,')
        ((state, reason),) = await shop.inbox()
        assert state == "rejected"
        assert reason is not None
        assert reason.startswith("not JSON")

    @pytest.mark.parametrize("topic", ["customers/data_request", "customers/redact", "shop/redact"])
    async def test_an_unsigned_one_is_401(self, service: Service, topic: str) -> None:
        async with service.session.post(f"{service.url}/webhooks/gdpr/{topic}", data=b"{}") as response:
            assert response.status == 401


async def test_many_at_once_are_each_answered_and_kept(service: Service, shop: Shop) -> None:
    answers = await asyncio.gather(*(shop.post("products/update", {"id": number}) for number in range(300)))
    assert {status for status, _ in answers} == {200}
    await shop.settled()
    assert len(await shop.fetch("webhook_events")) == 300
