"""P1 as a run: signed webhooks at a steady rate while the web process and PostgreSQL are killed; then compare ids."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic

import aiohttp

from smsblossom.sandbox import phones
from smsblossom.sandbox.shopify import Delivery, delivery_of, post
from smsblossom.sandbox.shopify_catalogue import Sample, web_order
from smsblossom.sandbox.shopify_orders import order_body
from smsblossom.sandbox.shopify_shapes import Ids, encode
from tests.support.service import SECRET, SHOP, Service

CONNECTIONS = 32
BURST = 16
BODIES = 64
RECOVERS_WITHIN_S = 60.0


@dataclass(slots=True)
class Load:
    """What was posted, and what was answered. `answers` counts by status; None is no answer at all."""

    posted: int = 0
    in_flight: int = 0
    answers: Counter[int | None] = field(default_factory=Counter)
    acknowledged: set[str] = field(default_factory=set)
    slowest_s: dict[int | None, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Durability:
    """The figures of one run. `missing` must be empty."""

    seed: int
    rounds: int
    load: Load
    in_flight_at_faults: int
    stored: int
    missing: set[str]

    def figures(self) -> dict[str, int]:
        answers = self.load.answers
        return {
            "seed": self.seed,
            "rounds": self.rounds,
            "posted": self.load.posted,
            "acknowledged": len(self.load.acknowledged),
            "missing": len(self.missing),
            "answered_503": answers[503],
            "no_answer": answers[None],
            "in_flight_at_faults": self.in_flight_at_faults,
            "stored": self.stored,
        }


async def survive(service: Service, *, rounds: int, rate: float, seed: int) -> Durability:
    """Kill under load, `rounds` times: the web process, PostgreSQL, and every fourth time both at once."""
    dice = random.Random(seed)
    in_flight = 0
    async with loaded(service, rate=rate, seed=seed) as load:
        for number in range(rounds):
            await _flows(load)
            await asyncio.sleep(dice.uniform(0.1, 0.8))
            in_flight += await _in_the_middle(load, of=dice.randint(1, BURST))
            await _strike(service, number, down_s=dice.uniform(0.0, 0.3))
        await _flows(load)
    stored = await stored_ids(service)
    return Durability(seed, rounds, load, in_flight, len(stored), load.acknowledged - stored)


async def _strike(service: Service, number: int, *, down_s: float) -> None:
    hits_web, hits_postgres = number % 4 in {0, 2}, number % 4 in {1, 2, 3}
    if hits_postgres and hits_web:
        await asyncio.gather(service.web.kill(), service.postgres.stop_at_once())
    elif hits_web:
        await service.web.kill()
    else:
        await service.postgres.stop_at_once()
    await asyncio.sleep(down_s)
    if hits_postgres:
        await service.postgres.start()
    if hits_web:
        await service.web.start()


async def _flows(load: Load) -> None:
    """Return when webhooks are being acknowledged again."""
    before = len(load.acknowledged)
    async with asyncio.timeout(RECOVERS_WITHIN_S):
        while len(load.acknowledged) < before + CONNECTIONS:
            await asyncio.sleep(0.02)


async def _in_the_middle(load: Load, *, of: int) -> int:
    """Return, with their number, when this many webhooks have been posted and not answered."""
    async with asyncio.timeout(RECOVERS_WITHIN_S):
        while load.in_flight < of:
            await asyncio.sleep(0.001)
    return load.in_flight


@asynccontextmanager
async def loaded(service: Service, *, rate: float, seed: int) -> AsyncIterator[Load]:
    """Post at `rate` per second over keep-alive connections, each webhook once, until the body ends."""
    load, webhooks, pace = Load(), deliveries(seed), _Pace(rate)
    stop = asyncio.Event()
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session:
        tasks = [
            asyncio.create_task(_post_on(session, service, webhooks, pace, load, stop)) for _ in range(CONNECTIONS)
        ]
        try:
            yield load
        finally:
            stop.set()
            await asyncio.gather(*tasks)


class _Pace:
    """Slots in time that all connections draw from, in bursts; what was missed is not caught up with in one go."""

    def __init__(self, rate: float) -> None:
        self._between = BURST / rate
        self._next = monotonic()
        self._left = 0

    async def slot(self) -> None:
        if self._left == 0:
            self._left = BURST
            self._next = max(self._next + self._between, monotonic() - self._between)
        self._left -= 1
        await asyncio.sleep(max(0.0, self._next - monotonic()))


async def _post_on(
    session: aiohttp.ClientSession,
    service: Service,
    webhooks: Iterator[Delivery],
    pace: _Pace,
    load: Load,
    stop: asyncio.Event,
) -> None:
    while not stop.is_set():
        await pace.slot()
        await post_one(session, service, next(webhooks), load)


async def post_one(session: aiohttp.ClientSession, service: Service, webhook: Delivery, load: Load) -> int | None:
    """Post one webhook, once, and write down how it was answered."""
    load.posted += 1
    load.in_flight += 1
    began = monotonic()
    status, _ = await post(session, service.webhook_url, webhook, secret=SECRET)
    load.in_flight -= 1
    load.answers[status] += 1
    load.slowest_s[status] = max(load.slowest_s.get(status, 0.0), monotonic() - began)
    if status == 200:
        load.acknowledged.add(webhook.webhook_id)
    return status


def deliveries(seed: int) -> Iterator[Delivery]:
    """Orders without end: a few bodies, every webhook with an id of its own."""
    ids, now = Ids(seed), datetime.now(UTC)
    samples = [
        Sample("load", "orders/create", encode(order_body(web_order(ids, now, phones.plain(number), number=number))))
        for number in range(BODIES)
    ]
    webhooks = [delivery_of(sample, ids, shop=SHOP, triggered_at=now) for sample in samples]
    while True:
        for webhook in webhooks:
            yield replace(webhook, webhook_id=ids.uuid(), event_id=ids.uuid())


async def stored_ids(service: Service) -> set[str]:
    async with service.third_party() as connection:
        rows = await connection.fetch("SELECT webhook_id FROM webhook_events WHERE topic = 'orders/create'")
    return {row["webhook_id"] for row in rows}


async def refused_without_postgres(service: Service, *, hung: bool, seed: int, posts: int = 40) -> Load:
    """Post while PostgreSQL is stopped, or `hung`: alive and silent. It runs again afterwards."""
    load, webhooks = Load(), deliveries(seed)
    if hung:
        service.postgres.freeze()
    else:
        await service.postgres.stop_at_once()
    try:
        async with aiohttp.ClientSession() as session:
            for size in (1, posts - 1):
                batch = [next(webhooks) for _ in range(size)]
                await asyncio.gather(*(post_one(session, service, webhook, load) for webhook in batch))
    finally:
        if hung:
            service.postgres.thaw()
        else:
            await service.postgres.start()
    return load


async def driven_after_redis(service: Service, *, seed: int, posts: int = 40, within_s: float = 120.0) -> Load:
    """Post while Redis is down, then start it: returns when every row of these is processed. Needs a worker.

    Raises:
        TimeoutError: some row was left behind.

    """
    load, webhooks = Load(), deliveries(seed)
    await service.redis.stop_at_once()
    try:
        async with aiohttp.ClientSession() as session:
            for _ in range(posts):
                await post_one(session, service, next(webhooks), load)
    finally:
        await service.redis.start()
    async with asyncio.timeout(within_s), service.third_party() as connection:
        while True:
            left = await connection.fetchval(
                "SELECT count(*) FROM webhook_events WHERE webhook_id = ANY ($1) AND state <> 'processed'",
                list(load.acknowledged),
            )
            if not left:
                return load
            await asyncio.sleep(0.2)
