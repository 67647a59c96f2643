"""The service in this process: the real web app, the real worker, real servers, the fake Mitto, and a clock to move.

Tests of one xdist worker share one service; each takes a shop of its own, so that none sees another's rows.
"""

import asyncio
import base64
import io
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg

from smsblossom import settings
from smsblossom.bootstrap import Clock, Runtime, open_runtime
from smsblossom.cli.serve import listening
from smsblossom.cli.worker import work
from smsblossom.domain.ids import ShopId, shop_id_of
from smsblossom.jobs import QueueName
from smsblossom.sandbox import shopify
from smsblossom.sandbox.mitto import FakeMitto, MittoSettings
from smsblossom.sandbox.mitto_knobs import Knobs
from smsblossom.sandbox.mitto_ledger import Text
from smsblossom.settings import Settings
from smsblossom.usecases import manage, sweep
from tests.support.servers import Database

SECRET, OLD_SECRET = "shpss_the_newest_secret", "shpss_the_oldest_secret"
TOKEN = "callback-token-of-the-tests"
PATIENCE_S = 30.0
MIDDAY = datetime(2026, 11, 25, 16, 0, tzinfo=UTC)
"""A Wednesday: 11:00 in New York, 08:00 in Los Angeles, 18:00 in Athens. Every window is open."""


def key(letter: str) -> str:
    return base64.b64encode(letter.encode() * 32).decode()


def environment(database: Database, redis_url: str, mitto_url: str, port: int) -> dict[str, str]:
    """A complete environment of a process of this service."""
    return {
        "DATABASE_URL": database.app_url,
        "REDIS_URL": redis_url,
        "APP_URL": f"http://127.0.0.1:{port}",
        "PORT": str(port),
        "SHOPIFY_API_SECRET": f"{SECRET},{OLD_SECRET}",
        "MITTO_BASE_URL": mitto_url,
        "MITTO_CALLBACK_TOKEN": TOKEN,
        "MITTO_READ_TIMEOUT": "1.5",
        "ENCRYPTION_KEYS": f"1:{key('e')}",
        "BLIND_INDEX_KEY": key("b"),
        "API_TOKEN": "api-token-of-the-tests",
        "SMSBLOSSOM_SANDBOX": "1",
    }


@contextmanager
def reserved_port() -> Any:
    """A port that nobody else is given while the body runs: bound, not listening, so that a server may still bind."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@dataclass(frozen=True)
class Service:
    """A running service and the hands to use it with."""

    runtime: Runtime
    worker: Runtime
    """The worker's own runtime: another process's in production."""
    mitto: FakeMitto
    url: str
    session: aiohttp.ClientSession
    rows: asyncpg.Pool
    """A superuser's connections, which see every shop."""

    @property
    def clock(self) -> Clock:
        return self.runtime.clock

    def now(self) -> datetime:
        return self.clock.now()

    @contextmanager
    def at(self, moment: datetime) -> Any:
        """Business time is `moment` from here on, and the machine's again afterwards."""
        self.clock.offset += moment - self.clock.now()
        try:
            yield
        finally:
            self.clock.offset = timedelta(0)

    def advance(self, by: timedelta) -> None:
        self.clock.offset += by

    async def sweep(self) -> None:
        """A round of the sweeper now, instead of within five seconds."""
        await sweep.sweep(self.worker)

    async def new_shop(self, **facts: Any) -> "Shop":
        """A shop that no other test has."""
        shop = self.stranger()
        new = {"timezone": "America/New_York", "country": "US", "name": "Ada's Shop", **facts}
        await manage.add_shop(self.runtime, manage.NewShop(domain=shop.domain, **new), actor="test")
        return shop

    def stranger(self) -> "Shop":
        """A shop that the service does not know."""
        domain = f"shop-{uuid4().hex}.myshopify.com"
        return Shop(self, domain, shop_id_of(domain))


@dataclass(frozen=True)
class Shop:
    """One shop, as Shopify sees it and as the database keeps it."""

    service: Service
    domain: str
    id: ShopId

    async def post(self, topic: str, body: bytes | dict[str, Any], **how: Any) -> tuple[int, str]:
        """Deliver a webhook with a right signature; status and answer. See `signed` for `how`."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        path = how.pop("path", "/webhooks/shopify")
        return await self.deliver(raw, self.signed(topic, raw, **how), path=path)

    async def deliver(self, raw: bytes, headers: dict[str, str], *, path: str = "/webhooks/shopify") -> tuple[int, str]:
        """Send, and after a 503 send again, as Shopify does: a busy machine may take longer than a commit is given."""
        async with asyncio.timeout(PATIENCE_S):
            while (answer := await self.send(raw, headers, path=path))[0] == 503:
                await asyncio.sleep(0.1)
        return answer

    async def send(self, raw: bytes, headers: dict[str, str], *, path: str = "/webhooks/shopify") -> tuple[int, str]:
        service, data = self.service, io.BytesIO(raw)  # aiohttp warns of large bodies given as bytes
        async with service.session.post(f"{service.url}{path}", data=data, headers=headers) as response:
            return response.status, await response.text()

    def signed(
        self,
        topic: str,
        raw: bytes,
        *,
        webhook_id: str | None = None,
        event_id: str | None = None,
        triggered_at: datetime | None = None,
        secret: str = SECRET,
        family: shopify.Family = "x",
        request_id: str | None = None,
    ) -> dict[str, str]:
        """The headers of one delivery, triggered now unless said otherwise."""
        headers = shopify.headers(
            topic,
            raw,
            shop=self.domain,
            secret=secret,
            webhook_id=webhook_id or str(uuid4()),
            event_id=event_id or str(uuid4()),
            triggered_at=triggered_at or self.service.now(),
            family=family,
        )
        return headers if request_id is None else {**headers, "X-Request-Id": request_id}

    async def taken(self, topic: str, body: bytes | dict[str, Any], **how: Any) -> None:
        """Deliver, be answered 200, and wait until nothing of this shop is under way."""
        status, answer = await self.post(topic, body, **how)
        assert (status, answer) == (200, "ok\n")
        await self.settled()

    async def settled(self, *, reported: bool = False) -> None:
        """Wait until no row of this shop is under way; `reported`: until every text has its delivery report too."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while await self._unsettled(reported=reported):
                    await asyncio.sleep(0.01)
        except TimeoutError:
            left = {name: await self.fetch(name) for name in ("webhook_events", "runs", "messages")}
            states = {name: [(row["state"], dict(row).get("reason")) for row in rows] for name, rows in left.items()}
            raise AssertionError(f"not settled within {PATIENCE_S} s: {states}") from None

    async def _unsettled(self, *, reported: bool) -> bool:
        open_states = ["planned", "queued", "submitting", *(["accepted", "sent", "unknown"] if reported else [])]
        found = await self.service.rows.fetchval(
            """
            SELECT EXISTS (SELECT FROM webhook_events WHERE shop_id = $1 AND state = 'received')
                OR EXISTS (SELECT FROM runs WHERE shop_id = $1 AND state = 'pending')
                OR EXISTS (SELECT FROM messages WHERE shop_id = $1 AND state = ANY ($2))
            """,
            self.id,
            open_states,
        )
        return bool(found)

    async def fetch(self, table: str) -> list[dict[str, Any]]:
        """All rows of this shop, oldest first: ids are in the order of time."""
        key = "id" if table == "shops" else "shop_id"
        order = "planned_at, id" if table == "messages" else "1"
        rows = await self.service.rows.fetch(f"SELECT * FROM {table} WHERE {key} = $1 ORDER BY {order}, 2", self.id)
        return [dict(row) for row in rows]

    async def inbox(self) -> list[tuple[str, str | None]]:
        return [(row["state"], row["reason"]) for row in await self.fetch("webhook_events")]

    async def verdicts(self) -> list[str]:
        """`order_created: send`, `order_paid: withhold no_phone` …, in the order they were made."""
        rows = await self.service.rows.fetch(
            """
            SELECT a.key, d.verdict, d.reason FROM decisions d
            JOIN automations a ON a.shop_id = d.shop_id AND a.id = d.source_id
            WHERE d.shop_id = $1 ORDER BY d.decided_at, d.id
            """,
            self.id,
        )
        return [f"{row['key']}: {' '.join(filter(None, (row['verdict'], row['reason'])))}" for row in rows]

    async def texts(self) -> list[Text]:
        """What the fake Mitto has accepted for this shop."""
        ids = {str(row["id"]) for row in await self.fetch("messages")}
        return [text for text in self.service.mitto.ledger().texts if text.reference in ids]

    def open(self, sealed: bytes) -> str:
        return self.service.runtime.vault.decrypt_text(self.id, sealed)


@asynccontextmanager
async def running(
    database: Database, redis_url: str, *, queues: Sequence[QueueName] = tuple(QueueName), **changed: str
) -> AsyncIterator[Service]:
    """A service on this database and Redis; `changed` names settings that differ from the usual."""
    knobs = Knobs(report_delay_ms=5, late_report_ms=50)
    async with AsyncExitStack() as stack:
        mitto = await stack.enter_async_context(FakeMitto(MittoSettings(knobs=knobs)))
        port = stack.enter_context(reserved_port())
        chosen = settings.load({**environment(database, redis_url, mitto.url, port), **changed})
        web = await stack.enter_async_context(open_runtime(chosen, pool_size=5))
        worker = await stack.enter_async_context(open_runtime(chosen, clock=web.clock, pool_size=8))
        await stack.enter_async_context(working(worker, queues))
        url = await stack.enter_async_context(listening(web, chosen.host, chosen.port))
        mitto.control(inbound_url=f"{chosen.callback_base}/inbound")
        session = await stack.enter_async_context(aiohttp.ClientSession())
        rows = await stack.enter_async_context(asyncpg.create_pool(database.superuser_url, min_size=1, max_size=3))
        yield Service(web, worker, mitto, url, session, rows)


@asynccontextmanager
async def working(runtime: Runtime, queues: Sequence[QueueName]) -> AsyncIterator[None]:
    """The worker, until the body ends."""
    stop, halt = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(work(runtime, queues, stop, halt), name="worker")
    try:
        yield
    finally:
        stop.set()
        await task


@asynccontextmanager
async def another_web(service: Service, **changed: Any) -> AsyncIterator[Service]:
    """A second web process of the same service with other settings, and no worker of its own."""
    chosen: Settings = replace(service.runtime.settings, **changed)
    async with (
        open_runtime(chosen, clock=service.clock, pool_size=2) as runtime,
        listening(runtime, "127.0.0.1", 0) as url,
    ):
        yield replace(service, runtime=runtime, url=url)


def of(service: Service, shop: Shop) -> Shop:
    """The same shop, spoken to through another web process."""
    return replace(shop, service=service)


def ids_of(rows: Sequence[dict[str, Any]], name: str = "id") -> set[UUID]:
    return {row[name] for row in rows}
