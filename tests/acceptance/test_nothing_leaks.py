"""No phone, e-mail, name or text of a run lies in any log line, metric, Redis key or value, or plain in PostgreSQL.

Real processes, so that everything they print is there: what libraries log and what an error says, too.
"""

import asyncio
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
from redis.asyncio import Redis

from smsblossom.sandbox import phones, shopify
from smsblossom.sandbox.shopify_others import customer_body, old_customer_body
from smsblossom.sandbox.shopify_shapes import Address, Customer, Ids, encode
from smsblossom.store.tables import metadata
from tests.support import service
from tests.support.orders import body_of, consent_of, new_order, parcel_of
from tests.support.service import SECRET, SHOP, TOKEN, Service

FIRST, LAST, EMAIL = "Xanthippe", "Quillfeather", "x.quillfeather@example.com"
STREET, SAID = "77 Zwetschgenweg", "please call Ottokar on the old number"
NUMBERS = [phones.plain(n) for n in range(40, 46)] + [phones.magic(ending, 60) for ending in (1, 2, 6, 7, 8)]
TYPED = "(202) 555-0147"


def needles(texts: list[str]) -> Iterator[str]:
    """Everything personal, in every spelling that something may have given it."""
    yield from (FIRST, LAST, EMAIL, EMAIL.upper(), "x.quillfeather", STREET, SAID, "Ottokar", TYPED, "2025550147")
    for number in NUMBERS:
        digits = number.removeprefix("+")
        national = digits.removeprefix("1")
        yield from (number, digits, national, f"({national[:3]}) {national[3:6]}-{national[6:]}")
    for text in texts:
        yield from (text, text[8:40])


def deliveries(now: datetime) -> Iterator[tuple[str, bytes]]:
    """A mixed load: good, odd and broken bodies, each full of somebody's data."""
    for number in NUMBERS:
        address = Address(first_name=FIRST, last_name=LAST, address1=STREET, phone=number)
        order = new_order(now, number)
        assert order.customer is not None
        customer = replace(order.customer, first_name=FIRST, last_name=LAST, email=EMAIL, address=address)
        order = replace(order, customer=customer, email=EMAIL, shipping_address=address, billing_address=address)
        yield "orders/create", encode(body_of(order))
        yield "orders/paid", encode(body_of(order))
        yield "fulfillments/update", encode(parcel_of(order, now))
        yield "customers/update", encode(customer_body(customer, now))
        yield "customers_marketing_consent/update", encode(consent_of(order, "subscribed", now))
        yield "orders/create", encode(body_of(order))[:-40]
        yield "orders/create", json.dumps({"id": number, "name": FIRST}).encode()
        yield "orders/create", json.dumps({"id": 5, "customer": EMAIL, FIRST: {LAST: number}}).encode()
        yield "shop/redact", json.dumps({"shop_domain": EMAIL, "customer": {"phone": number}}).encode()
    old = Customer(id=Ids(5).number(), first_name=FIRST, last_name=LAST, email=EMAIL, phone=TYPED)
    yield "customers/create", encode(old_customer_body(old, now, {"state": EMAIL, "opt_in_level": FIRST}))
    yield f"orders/{FIRST}", b"{}"


async def load(started: Service) -> None:
    now, ids = datetime.now(UTC), Ids(9)
    async with aiohttp.ClientSession() as session:
        for topic, body in deliveries(now):
            delivery = shopify.Delivery(
                topic=topic, body=body, shop=SHOP, webhook_id=ids.uuid(), event_id=ids.uuid(), triggered_at=now
            )
            assert await shopify.post(session, started.webhook_url, delivery, secret=SECRET) == (200, None)
            assert (await shopify.post(session, started.webhook_url, delivery, secret="wrong"))[0] == 401
        for fields in ({"from": NUMBERS[0], "to": "Blossom", "text": SAID}, {"from": EMAIL, "text": FIRST}):
            for kind in ("inbound", "dlr"):
                async with session.post(f"{started.url}/webhooks/mitto/{TOKEN}/{kind}", json=fields) as answer:
                    assert answer.status == 200
                async with session.get(f"{started.url}/webhooks/mitto/{TOKEN}/{kind}", params=fields) as answer:
                    assert answer.status == 200


async def settle(started: Service) -> None:
    query = """
        SELECT EXISTS (SELECT FROM webhook_events WHERE state = 'received')
            OR EXISTS (SELECT FROM runs WHERE state = 'pending')
            OR EXISTS (SELECT FROM messages WHERE state IN ('planned', 'queued', 'submitting', 'accepted'))
    """
    async with started.third_party() as connection, asyncio.timeout(60):
        while await connection.fetchval(query):
            await asyncio.sleep(0.05)


async def in_redis(started: Service) -> str:
    """Every key and every value, whatever its type."""
    found: list[object] = []
    async with Redis.from_url(started.environ["REDIS_URL"]) as client:
        async for key in client.scan_iter():
            found += [key, await value_of(client, key)]
    return repr(found)


async def watch_redis(started: Service, seen: io.StringIO) -> None:
    """Every command that reaches Redis, with its arguments: job data is gone again when the job is done."""
    async with Redis.from_url(started.environ["REDIS_URL"]) as client, client.monitor() as monitor:
        async for command in monitor.listen():
            seen.write(f"{command}\n")


async def value_of(client: Any, key: bytes) -> object:
    match await client.type(key):
        case b"string":
            return await client.get(key)
        case b"hash":
            return await client.hgetall(key)
        case b"list":
            return await client.lrange(key, 0, -1)
        case b"set":
            return await client.smembers(key)
        case b"zset":
            return await client.zrange(key, 0, -1)
        case b"stream":
            return await client.xrange(key)
        case b"none":
            return None
        case other:
            raise AssertionError(f"teach value_of the type {other!r}")


async def in_postgres(started: Service) -> dict[str, str]:
    """Every row of every table as text, bytes both as hex and as the characters they spell."""
    async with started.third_party() as connection:
        rows = {name: await connection.fetch(f"SELECT t::text AS whole, t.* FROM {name} t") for name in metadata.tables}
    return {name: "\n".join(f"{row['whole']} {spelled(row)}" for row in found) for name, found in rows.items()}


def spelled(row: Any) -> str:
    return " ".join(value.decode("latin-1") for value in row.values() if isinstance(value, bytes))


async def metrics(started: Service) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{started.url}/queue/metrics") as answer:
        assert answer.status == 200
        return await answer.text()


async def test_nothing_personal_is_left_where_it_does_not_belong() -> None:
    async with service.running(workers=1, settings={"LOG_LEVEL": "debug"}) as started:
        seen = io.StringIO()
        watching = asyncio.create_task(watch_redis(started, seen))
        await load(started)
        await settle(started)
        watching.cancel()
        await asyncio.wait([watching])
        texts = [text.text for text in started.ledger()]
        assert len(texts) >= 15
        places = {f"PostgreSQL, {name}": text for name, text in (await in_postgres(started)).items()}
        places |= {
            "Redis at the end": await in_redis(started),
            "Redis on the way": seen.getvalue(),
            "metrics": await metrics(started),
            "web log": started.web.log.read_text(encoding="utf-8"),
            "worker log": started.workers[0].log.read_text(encoding="utf-8"),
        }
    assert all(places[name] for name in ("Redis at the end", "Redis on the way", "metrics", "web log", "worker log"))
    assert places["worker log"].count("message.submitted") >= 15
    found = {(place, needle) for place, text in places.items() for needle in needles(texts) if needle in text}
    assert found == set()
