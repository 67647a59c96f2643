"""Take webhooks in: durable before answered, many to one INSERT, then one pipelined enqueue.

Whatever arrived while the last INSERT was in flight shares the next one, so there is no timer: an idle service
answers after one commit, a busy one commits once for many.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import msgspec
import structlog

from smsblossom import jobs
from smsblossom.domain.ids import SYSTEM, ShopId, WebhookEventId
from smsblossom.jobs import Job
from smsblossom.queue.client import Add, QueueClient
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.store import inbox
from smsblossom.store.engine import Store, StoreUnavailable
from smsblossom.store.inbox import Delivery
from smsblossom.telemetry import Metrics
from smsblossom.vault import Vault

log = structlog.get_logger()

PERSIST_WITHIN_S: Final = 0.9
"""Longer than this and the caller is told to come back: Shopify gives up after five seconds."""
LARGEST_BATCH: Final = 256
INSERTS_AT_ONCE: Final = 2
MITTO_RECEIPT: Final = "mitto/dlr"
MITTO_INBOUND: Final = "mitto/inbound"


class NotDurable(Exception):  # noqa: N818
    """The body is not known to be stored; the sender must try again."""


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook as the edge understood its headers; the body is untouched."""

    shop_id: ShopId
    event_id: WebhookEventId
    topic: str
    webhook_id: str
    shopify_event_id: str | None
    shop_domain: str
    api_version: str | None
    triggered_at: datetime | None
    received_at: datetime
    request_id: str
    body: bytes


class _Waiting(msgspec.Struct, frozen=True):
    arrival: Arrival
    stored: asyncio.Future[bool]
    since: float
    """By the loop's clock."""


class _Deadlines:
    """Ends waits that took too long. All are equally long, so one timer, for the oldest of them, is enough."""

    def __init__(self) -> None:
        self._waits: deque[tuple[float, asyncio.Future[bool]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, until: float, stored: asyncio.Future[bool]) -> None:
        self._waits.append((until, stored))
        if self._timer is None:
            self._timer = stored.get_loop().call_at(until, self._expire)

    def _expire(self) -> None:
        loop, self._timer = asyncio.get_running_loop(), None
        while self._waits and (self._waits[0][1].done() or self._waits[0][0] <= loop.time()):
            _, stored = self._waits.popleft()
            if not stored.done():
                stored.set_exception(NotDurable("the database is too slow"))
        if self._waits:
            self._timer = loop.call_at(self._waits[0][0], self._expire)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class Acceptor:
    """The group commit of one web process."""

    def __init__(self, store: Store, queue: QueueClient, vault: Vault, metrics: Metrics) -> None:
        self._store = store
        self._queue = queue
        self._vault = vault
        self._metrics = metrics
        self._waiting: list[_Waiting] = []
        self._deadlines = _Deadlines()
        self._to_enqueue: list[Add] = []
        self._inserting: set[asyncio.Task[None]] = set()
        self._enqueueing: asyncio.Task[None] | None = None

    async def accept(self, arrival: Arrival) -> bool:
        """Store this body; True when it is new, False for a repeated delivery.

        Raises:
            NotDurable: not stored within PERSIST_WITHIN_S, as far as anybody knows.

        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(arrival, loop.create_future(), loop.time())
        self._waiting.append(waiting)
        self._deadlines.watch(waiting.since + PERSIST_WITHIN_S, waiting.stored)
        self._start_insert()
        return await waiting.stored

    async def close(self) -> None:
        """Finish what is in flight."""
        while self._inserting or self._enqueueing:
            await asyncio.wait([*self._inserting, *filter(None, [self._enqueueing])])
        self._deadlines.close()

    def _start_insert(self) -> None:
        if self._waiting and len(self._inserting) < INSERTS_AT_ONCE:
            task = asyncio.create_task(self._insert_waiting(), name="group-commit")
            self._inserting.add(task)
            task.add_done_callback(self._insert_done)

    def _insert_done(self, task: asyncio.Task[None]) -> None:
        self._inserting.discard(task)
        self._start_insert()

    async def _insert_waiting(self) -> None:
        batch, self._waiting = self._waiting[:LARGEST_BATCH], self._waiting[LARGEST_BATCH:]
        live = [waiting for waiting in batch if not waiting.stored.done()]
        if not live:
            return
        self._metrics.webhook_batch.observe(len(live))
        try:
            new = await self._insert([waiting.arrival for waiting in live])
        except StoreUnavailable as error:
            _fail(live, NotDurable(str(error)))
        except Exception as error:  # noqa: BLE001 - one unusable neighbour must harm nobody: each gets its own try
            log.warning("webhooks.batch_failed", rows=len(live), error=type(error).__name__)
            await self._insert_one_by_one(live)
        else:
            self._stored(live, new)

    async def _insert_one_by_one(self, live: Sequence[_Waiting]) -> None:
        for waiting in live:
            try:
                new = await self._insert([waiting.arrival])
            except Exception as error:
                log.exception("webhook.not_stored", request_id=waiting.arrival.request_id)
                _fail([waiting], NotDurable(type(error).__name__))
            else:
                self._stored([waiting], new)

    async def _insert(self, arrivals: Sequence[Arrival]) -> set[WebhookEventId]:
        deliveries = [self._seal(arrival) for arrival in arrivals]
        return await inbox.add_many(self._store, deliveries)

    def _seal(self, arrival: Arrival) -> Delivery:
        return Delivery(
            shop_id=arrival.shop_id,
            id=arrival.event_id,
            topic=arrival.topic,
            webhook_id=arrival.webhook_id,
            shopify_event_id=arrival.shopify_event_id,
            shop_domain=arrival.shop_domain,
            api_version=arrival.api_version,
            triggered_at=arrival.triggered_at,
            received_at=arrival.received_at,
            request_id=arrival.request_id,
            body_sealed=self._vault.pack(arrival.shop_id, arrival.body),
            body_bytes=len(arrival.body),
        )

    def _stored(self, live: Sequence[_Waiting], new: set[WebhookEventId]) -> None:
        self._answer(live, new)
        fresh = [waiting.arrival for waiting in live if waiting.arrival.event_id in new]
        self._to_enqueue += jobs_for(fresh)
        if self._to_enqueue and self._enqueueing is None:
            self._enqueueing = asyncio.create_task(self._enqueue_all(), name="enqueue")

    def _answer(self, live: Sequence[_Waiting], new: set[WebhookEventId]) -> None:
        """Release the requests, and tell of them here: one after the other costs half of each in its own request."""
        now, seconds = asyncio.get_running_loop().time(), self._metrics.webhook_seconds
        for waiting in live:
            arrival, in_time = waiting.arrival, not waiting.stored.done()
            if in_time:
                waiting.stored.set_result(arrival.event_id in new)
            seconds.observe(now - waiting.since)
            log.info(
                "webhook.accepted" if in_time else "webhook.stored_late",
                request_id=arrival.request_id,
                event_id=str(arrival.event_id),
                topic=arrival.topic,
                shop_id=str(arrival.shop_id),
                duplicate=arrival.event_id not in new,
            )

    async def _enqueue_all(self) -> None:
        """Wake the workers. When that fails, the rows are there, and the sweeper finds them."""
        try:
            while self._to_enqueue:
                adds, self._to_enqueue = self._to_enqueue, []
                try:
                    await self._queue.add_many(adds)
                except QueueUnavailable:
                    log.warning("webhooks.queue_unavailable", rows=len(adds))
                except Exception:
                    log.exception("webhooks.enqueue_failed", rows=len(adds))
        finally:
            self._enqueueing = None


def jobs_for(arrivals: Sequence[Arrival]) -> list[Add]:
    """The jobs that process these rows; their ids are made from the rows', so adding twice adds once."""
    return [job_for(a.topic, a.shop_id, a.event_id, a.request_id, now=a.received_at) for a in arrivals]


def job_for(topic: str, shop_id: ShopId, event_id: WebhookEventId, request_id: str, *, now: datetime) -> Add:
    job: Job
    if topic == MITTO_RECEIPT:
        job = jobs.ApplyReceipts(shop_id=SYSTEM, request_id=request_id, created_at=now, event_ids=(event_id,))
    elif topic == MITTO_INBOUND:
        job = jobs.HandleInbound(shop_id=SYSTEM, request_id=request_id, created_at=now, event_id=event_id)
    else:
        job = jobs.ProcessEvent(shop_id=shop_id, request_id=request_id, created_at=now, event_id=event_id, topic=topic)
    return Add(job=job, job_id=f"event:{event_id}")


def _fail(live: Sequence[_Waiting], error: Exception) -> None:
    for waiting in live:
        if not waiting.stored.done():
            waiting.stored.set_exception(error)


@asynccontextmanager
async def open_acceptor(store: Store, queue: QueueClient, vault: Vault, metrics: Metrics) -> AsyncIterator[Acceptor]:
    acceptor = Acceptor(store, queue, vault, metrics)
    try:
        yield acceptor
    finally:
        await acceptor.close()
