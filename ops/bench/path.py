"""Webhook to provider: orders at a steady pace through the real web process, the real worker and the fake Mitto.

The time is taken outside the service: from the moment the webhook is posted until the fake Mitto's own ledger says
that the text came in. Each order has a number of its own, so the number joins the two.
"""

import asyncio
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import aiohttp

from ops.bench.servers import SECRET, Bench, BenchFailed, Running, module, output_of, running, service
from smsblossom.sandbox import phones, shopify
from smsblossom.sandbox.mitto import fetch_ledger
from smsblossom.sandbox.shopify_catalogue import web_order
from smsblossom.sandbox.shopify_orders import order_body
from smsblossom.sandbox.shopify_shapes import Ids, encode

PER_S: Final = 50
SHOP: Final = "bench-path.myshopify.com"
_ARRIVE_WITHIN_S: Final = 60


@asynccontextmanager
async def path(made: Bench) -> AsyncIterator[tuple[Running, str]]:
    """The whole service with a shop, a web process, a worker and a fake Mitto; its web process and Mitto's address."""
    await made.empty()
    async with running(made, *module("smsblossom.sandbox.mitto", "--port", "0"), name="mitto") as mitto:
        at = f"http://127.0.0.1:{mitto.port}"
        await output_of(made, *service("shop", "add", SHOP, "--timezone", "America/New_York", "--country", "US"))
        async with (
            running(made, *service("serve", "--port", "0"), name="path-web", MITTO_BASE_URL=at) as web,
            running(made, *service("worker"), name="path-worker", ready="worker.ready", MITTO_BASE_URL=at),
        ):
            yield web, at


async def measure(web: Running, mitto: str, *, first: int, seconds: float) -> list[float]:
    """Post PER_S orders a second, wait for all their texts, and return the milliseconds each one took.

    Raises:
        BenchFailed: a webhook was not answered 200, or a text did not come.

    """
    url, ids, count = f"http://127.0.0.1:{web.port}/webhooks/shopify", Ids(first), int(PER_S * seconds)
    posted: dict[str, datetime] = {}  # by the number as Mitto writes it, without the plus sign
    async with aiohttp.ClientSession() as session:
        deliveries = [_delivery(ids, phones.plain(first + index), first + index) for index in range(count)]
        loop = asyncio.get_running_loop()
        began, posts = loop.time(), []
        for index, (phone, delivery) in enumerate(deliveries):
            await asyncio.sleep(began + index / PER_S - loop.time())
            posted[phone.lstrip("+")] = datetime.now(UTC)
            posts.append(asyncio.create_task(shopify.post(session, url, delivery, secret=SECRET)))
        answers = [status for status, _ in await asyncio.gather(*posts)]
        if any(status != 200 for status in answers):
            raise BenchFailed(f"{sum(status != 200 for status in answers)} of {count} webhooks were not answered 200")
        return await _texts(session, mitto, posted)


def percentiles(milliseconds: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(milliseconds, n=100)
    return cuts[49], cuts[98]


def _delivery(ids: Ids, phone: str, number: int) -> tuple[str, shopify.Delivery]:
    now = datetime.now(UTC)
    body = encode(order_body(web_order(ids, now, phone, number=number)))
    sample = shopify.Sample(name="bench", topic="orders/create", body=body)
    return phone, shopify.delivery_of(sample, ids, shop=SHOP, triggered_at=now)


async def _texts(session: aiohttp.ClientSession, mitto: str, posted: dict[str, datetime]) -> list[float]:
    came: dict[str, datetime] = {}
    for _ in range(_ARRIVE_WITHIN_S * 4):
        texts = (await fetch_ledger(session, mitto)).texts
        came = {number: text.at for text in texts if (number := text.to.lstrip("+")) in posted}
        if len(came) == len(posted):
            return [(came[phone] - at).total_seconds() * 1000 for phone, at in posted.items()]
        await asyncio.sleep(0.25)
    raise BenchFailed(f"{len(posted) - len(came)} of {len(posted)} texts did not reach the fake Mitto")
