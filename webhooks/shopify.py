"""`POST /webhooks/shopify`: check it, keep it, hand it on, answer.

Answers, in this order: 405 not POST · 413 over 10 MiB · 401 missing or wrong HMAC · 400 no body, no topic or no valid
shop domain · 503 not durable · 200 accepted, duplicate, or a topic or shop that we ignore. JSON is not parsed here.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final

import structlog
from aiohttp import web

from smsblossom.domain.ids import WebhookEventId, is_shop_domain, shop_id_of
from smsblossom.shopify.payloads import parse_time
from smsblossom.store.ids import new_id
from smsblossom.telemetry import labelled
from smsblossom.usecases.accept import Arrival, NotDurable
from webhooks.state import ACCEPTOR, REQUEST_ID, RUNTIME, VERIFIER

log = structlog.get_logger()

LARGEST_BODY: Final = 10 * 1024 * 1024
_LONGEST_TOPIC: Final = 100
_LONGEST_ID: Final = 255
_OK: Final = "ok\n"
_PLAIN: Final = {"Content-Type": "text/plain; charset=utf-8"}
_shop_id: Final = lru_cache(maxsize=10_000)(shop_id_of)
"""Two hashes and a UUID of Python's, per webhook: worth remembering."""


def routes() -> list[web.RouteDef]:
    return [
        web.post("/webhooks/shopify", receive),
        web.post("/webhooks/shopify/{topic:.+}", receive),
    ]


async def receive(request: web.Request) -> web.Response:
    """One delivery of one webhook."""
    return await receive_topic(request, header(request.headers, "topic") or request.match_info.get("topic"))


async def receive_topic(request: web.Request, topic: str | None) -> web.Response:
    runtime, headers = request.app[RUNTIME], request.headers
    body = await _body(request)
    if body is None:
        return _answer(request, 413, "body over 10 MiB\n")
    if not request.app[VERIFIER].is_valid(body, header(headers, "hmac-sha256")):
        return _answer(request, 401, "missing or wrong HMAC\n")
    shop_domain = header(headers, "shop-domain")
    problem = _problem(body, topic, shop_domain)
    if problem is not None or topic is None or shop_domain is None:
        return _answer(request, 400, f"{problem}\n")
    arrival = _arrival(headers, body, topic.lower(), shop_domain.lower(), request[REQUEST_ID], runtime.now())
    try:
        new = await request.app[ACCEPTOR].accept(arrival)
    except NotDurable:
        log.warning("webhook.not_durable", topic=arrival.topic)
        return _answer(request, 503, "not stored, try again\n")
    return _answer(request, 200, _OK, "accepted" if new else "duplicate")


def header(headers: Mapping[str, str], name: str) -> str | None:
    """A Shopify header of either family, `X-Shopify-…` or `shopify-…`, in any case; None where it is empty."""
    value = headers.get(f"X-Shopify-{name}") or headers.get(f"shopify-{name}")
    return value.strip(" \t") or None if value else None


async def _body(request: web.Request) -> bytes | None:
    """The raw bytes, or None when there are too many of them."""
    if request.content_length is not None and request.content_length > LARGEST_BODY:
        return None
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        return None


def _problem(body: bytes, topic: str | None, shop_domain: str | None) -> str | None:
    if not body:
        return "no body"
    if topic is None or len(topic) > _LONGEST_TOPIC or not _is_printable(topic):
        return "no topic: send X-Shopify-Topic, such as orders/create"
    if shop_domain is None or not is_shop_domain(shop_domain):
        return "no valid shop domain: send X-Shopify-Shop-Domain, such as example.myshopify.com"
    return None


def _arrival(
    headers: Mapping[str, str], body: bytes, topic: str, shop_domain: str, request_id: str, now: datetime
) -> Arrival:
    return Arrival(
        shop_id=_shop_id(shop_domain),
        event_id=WebhookEventId(new_id()),
        topic=topic,
        webhook_id=_id(headers, "webhook-id") or _fingerprint(shop_domain, topic, body),
        shopify_event_id=_id(headers, "event-id"),
        shop_domain=shop_domain,
        api_version=_id(headers, "api-version"),
        triggered_at=parse_time(header(headers, "triggered-at")),
        received_at=now,
        request_id=request_id,
        body=body,
    )


def _id(headers: Mapping[str, str], name: str) -> str | None:
    """An identifying header as PostgreSQL can keep it; bytes above 127 come as surrogates and are replaced."""
    value = header(headers, name)
    return None if value is None else value.encode("utf-8", "replace").decode()[:_LONGEST_ID]


def _fingerprint(shop_domain: str, topic: str, body: bytes) -> str:
    """Stands in for a missing webhook id: the same body for the same shop and topic is the same delivery."""
    digest = hashlib.sha256(f"{shop_domain}\n{topic}\n".encode())
    digest.update(body)
    return f"sha256:{digest.hexdigest()}"


def _is_printable(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _answer(request: web.Request, status: int, text: str, label: str | None = None) -> web.Response:
    labelled(request.app[RUNTIME].metrics.webhooks, "shopify", label or str(status)).inc()
    return web.Response(status=status, body=text.encode(), headers=_PLAIN)
