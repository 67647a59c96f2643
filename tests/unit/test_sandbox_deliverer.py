"""The fake Shopify posts as Shopify does; the other end is a real server on the loopback."""

import asyncio
import base64
import hashlib
import hmac
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web

from smsblossom.sandbox.shopify import RETRY_WAITS_S, Deliverer, Delivery, Sample, delivery_of
from smsblossom.sandbox.shopify_shapes import Ids

NOW = datetime(2026, 11, 22, 15, 30, tzinfo=UTC)
FAST = 1_000_000.0


def deliveries(count: int = 1) -> list[Delivery]:
    ids = Ids(1)
    return [
        delivery_of(
            Sample("any", "orders/create", b'{"id":%d}' % number), ids, shop="a.myshopify.com", triggered_at=NOW
        )
        for number in range(count)
    ]


@asynccontextmanager
async def receiver(answers: Iterator[int]) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that answers with these statuses in turn; yields its URL and the requests it saw."""
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        body = await request.read()
        digest = hmac.new(b"hush", body, hashlib.sha256).digest()
        assert base64.b64decode(request.headers["x-shopify-hmac-sha256"]) == digest
        seen.append(request.headers["x-shopify-webhook-id"])
        return web.Response(status=next(answers), headers={"Location": "/elsewhere"})

    app = web.Application()
    app.router.add_post("/hook", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", seen
    finally:
        await runner.cleanup()


def test_eight_retries_take_four_hours() -> None:
    assert len(RETRY_WAITS_S) == 8
    assert sum(RETRY_WAITS_S) == pytest.approx(4 * 3600)


@pytest.mark.parametrize(
    ("new_id", "ids"), [pytest.param(False, 1, id="id-kept"), pytest.param(True, 3, id="new-id-per-retry")]
)
async def test_retries_until_taken(new_id: bool, ids: int) -> None:
    answers = iter([503, 301, 200])
    async with receiver(answers) as (url, seen), aiohttp.ClientSession() as session:
        shopify = Deliverer(session, url, "hush", speed=FAST, new_id_on_retry=new_id)
        assert await shopify.deliver(deliveries()[0])
    assert [attempt.status for attempt in shopify.attempts] == [503, 301, 200]
    assert [attempt.number for attempt in shopify.attempts] == [0, 1, 2]
    assert len(set(seen)) == ids
    assert set(shopify.acknowledged()) == {seen[-1]}


async def test_gives_up_after_eight_retries() -> None:
    async with receiver(itertools.repeat(500)) as (url, seen), aiohttp.ClientSession() as session:
        shopify = Deliverer(session, url, "hush", speed=FAST)
        assert not await shopify.deliver(deliveries()[0])
    assert len(seen) == 9
    assert shopify.acknowledged() == {}


async def test_no_answer_is_an_attempt_without_a_status() -> None:
    async with receiver(itertools.repeat(200)) as (url, _):
        pass
    async with aiohttp.ClientSession() as session:
        shopify = Deliverer(session, url, "hush", speed=FAST, retries=1)
        assert not await shopify.deliver(deliveries()[0])
    assert [(attempt.status, attempt.error) for attempt in shopify.attempts] == [(None, "ClientConnectorError")] * 2


async def test_every_delivery_of_a_run_is_accounted_for() -> None:
    answers = itertools.cycle([200, 200, 503])
    sent = deliveries(30)
    async with receiver(answers) as (url, seen), aiohttp.ClientSession() as session:
        shopify = Deliverer(session, url, "hush", speed=FAST)
        assert await asyncio.wait_for(shopify.deliver_all(sent, concurrency=4), 20) == 30
    assert set(shopify.acknowledged()) == {delivery.webhook_id for delivery in sent}
    assert len(shopify.attempts) == len(seen) > 30
