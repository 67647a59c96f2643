"""A fake Shopify, sending side: sign a body, post it as Shopify does, and remember who answered 200.

Rules from Shopify's documents: base64 HMAC-SHA256 of the raw body, 1 s to connect and 5 s in all, anything but 2xx
(redirects too) is a failure, 8 retries over 4 hours with the original payload. Whether a retry keeps its webhook id is
not documented, so both can be had. The attempts kept here are the auditor of "answered 200 means it is durable".
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

import aiohttp

from smsblossom.sandbox.shopify_catalogue import Sample, catalogue
from smsblossom.sandbox.shopify_redate import redate
from smsblossom.sandbox.shopify_shapes import Ids

__all__ = [
    "RETRY_WAITS_S",
    "Attempt",
    "Chaos",
    "Deliverer",
    "Delivery",
    "Family",
    "Sample",
    "catalogue",
    "delivery_of",
    "disturbed",
    "headers",
    "post",
    "redate",
    "sign",
]

Family = Literal["x", "plain"]

RETRY_WAITS_S = tuple(4 * 3600 / 255 * 2**retry for retry in range(8))
"""Eight waits that double and add up to four hours; Shopify names the number and the span, not the steps."""

_TIMEOUT = aiohttp.ClientTimeout(total=5, sock_connect=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One webhook on its way to one address."""

    topic: str
    body: bytes
    shop: str
    webhook_id: str
    event_id: str
    triggered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One HTTP call; `status` is None when no answer came, and `error` then names the exception."""

    webhook_id: str
    topic: str
    number: int
    status: int | None
    error: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Chaos:
    """Shares of a run that are dropped, sent again under the same id, and sent again under a new id."""

    seed: int = 0
    drop: float = 0.0
    repeat: float = 0.0
    duplicate: float = 0.0
    shuffle: bool = False


@dataclass(frozen=True, slots=True)
class Disturbed:
    """What is sent, in this order, and what never is."""

    sent: list[Delivery]
    dropped: list[Delivery] = field(default_factory=list)


def sign(body: bytes, secret: str) -> str:
    """The value of X-Shopify-Hmac-Sha256."""
    return base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()


def headers(
    topic: str,
    body: bytes,
    *,
    shop: str,
    secret: str,
    webhook_id: str,
    event_id: str | None,
    triggered_at: datetime | None,
    family: Family = "x",
    api_version: str = "2026-10",
) -> dict[str, str]:
    """All headers of one delivery: the classic `X-Shopify-*` family or the newer `shopify-*` one."""
    prefix = "X-Shopify-" if family == "x" else "shopify-"
    values = {
        "Topic": topic,
        "Hmac-Sha256": sign(body, secret),
        "Shop-Domain": shop,
        "API-Version": api_version,
        "Webhook-Id": webhook_id,
        "Event-Id": event_id,
        "Triggered-At": None if triggered_at is None else f"{triggered_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
    }
    named = {
        prefix + (name if family == "x" else name.lower()): value for name, value in values.items() if value is not None
    }
    return {"Content-Type": "application/json", "User-Agent": "Shopify-Captain-Hook", **named}


def delivery_of(
    sample: Sample, ids: Ids, *, shop: str, triggered_at: datetime, event_id: str | None = None
) -> Delivery:
    """A sample with a webhook id of its own; pass `event_id` to tie several topics to one merchant action."""
    return Delivery(
        topic=sample.topic,
        body=sample.body,
        shop=shop,
        webhook_id=ids.uuid(),
        event_id=event_id or ids.uuid(),
        triggered_at=triggered_at,
    )


def disturbed(deliveries: Sequence[Delivery], chaos: Chaos) -> Disturbed:
    """Drops, repetitions, duplicates and the order of sending, by seed alone."""
    dice, ids = random.Random(f"{chaos.seed}:chaos"), Ids(chaos.seed)
    result = Disturbed([])
    for delivery in deliveries:
        if dice.random() < chaos.drop:
            result.dropped.append(delivery)
            continue
        result.sent.append(delivery)
        if dice.random() < chaos.repeat:
            result.sent.append(delivery)
        if dice.random() < chaos.duplicate:
            result.sent.append(replace(delivery, webhook_id=ids.uuid()))
    if chaos.shuffle:
        dice.shuffle(result.sent)
    return result


async def post(
    session: aiohttp.ClientSession, url: str, delivery: Delivery, *, secret: str, family: Family = "x"
) -> tuple[int | None, str | None]:
    """One attempt within Shopify's time limits: (status, None), or (None, name of the error) without an answer."""
    signed = headers(
        delivery.topic,
        delivery.body,
        shop=delivery.shop,
        secret=secret,
        webhook_id=delivery.webhook_id,
        event_id=delivery.event_id,
        triggered_at=delivery.triggered_at,
        family=family,
    )
    try:
        async with session.post(
            url, data=delivery.body, headers=signed, timeout=_TIMEOUT, allow_redirects=False
        ) as response:
            await response.read()
            return response.status, None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return None, type(error).__name__


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Deliverer:
    """Posts deliveries with Shopify's retries and keeps every attempt.

    `speed` divides the waits (14,400 makes the four hours one second); `new_id_on_retry` gives each retry a new
    webhook id. The session is handed in and is not closed here.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        secret: str,
        *,
        family: Family = "x",
        speed: float = 1.0,
        retries: int = 8,
        new_id_on_retry: bool = False,
        seed: int = 0,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._session, self._url, self._secret, self._family = session, url, secret, family
        self._waits = [wait / speed for wait in RETRY_WAITS_S[:retries]]
        self._retry_ids = Ids(seed) if new_id_on_retry else None
        self._now = now
        self.attempts: list[Attempt] = []

    async def deliver(self, delivery: Delivery) -> bool:
        """Post until a 2xx or until the retries are used up; True when it was taken."""
        for number, wait in enumerate([0.0, *self._waits]):
            await asyncio.sleep(wait)
            if number and self._retry_ids is not None:
                delivery = replace(delivery, webhook_id=self._retry_ids.uuid())
            status, error = await post(self._session, self._url, delivery, secret=self._secret, family=self._family)
            self._remember(delivery, number, status, error)
            if status is not None and 200 <= status < 300:
                return True
        return False

    async def deliver_all(self, deliveries: Iterable[Delivery], *, concurrency: int = 16) -> int:
        """Start them in this order, at most `concurrency` at once; how many were taken."""
        queue = iter(list(deliveries))
        taken = await asyncio.gather(*(self._drain(queue) for _ in range(concurrency)))
        return sum(taken)

    def acknowledged(self) -> dict[str, Attempt]:
        """By webhook id, the attempt that was answered 200: each of these must be durable."""
        return {attempt.webhook_id: attempt for attempt in self.attempts if attempt.status == 200}

    async def _drain(self, queue: Iterator[Delivery]) -> int:
        return sum([await self.deliver(delivery) for delivery in queue])

    def _remember(self, delivery: Delivery, number: int, status: int | None, error: str | None) -> None:
        self.attempts.append(
            Attempt(
                webhook_id=delivery.webhook_id,
                topic=delivery.topic,
                number=number,
                status=status,
                error=error,
                at=self._now(),
            )
        )
