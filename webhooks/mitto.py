"""Mitto's reports and inbound texts: 404 wrong token, 503 not durable, else 200.

Mitto signs nothing, so an unguessable token in the path is the authentication. The request is stored as it came and
understood later.
"""

import hashlib
import hmac
from typing import Final

import msgspec
import structlog
from aiohttp import web

from smsblossom.domain.ids import SYSTEM, WebhookEventId
from smsblossom.sms.provider import Callback
from smsblossom.store.ids import new_id
from smsblossom.usecases.accept import MITTO_INBOUND, MITTO_RECEIPT, Arrival, NotDurable
from webhooks.state import ACCEPTOR, REQUEST_ID, RUNTIME

log = structlog.get_logger()

LARGEST_BODY: Final = 1024 * 1024


def routes() -> list[web.RouteDef]:
    return [
        web.route(method, f"/webhooks/mitto/{{token}}/{path}", receive)
        for method in ("GET", "POST")
        for path in ("dlr", "inbound")
    ]


async def receive(request: web.Request) -> web.Response:
    runtime = request.app[RUNTIME]
    token = request.match_info["token"].encode("utf-8", "surrogateescape")
    if not hmac.compare_digest(token, runtime.settings.mitto_callback_token.encode()):
        return _answer(request, 404)
    if request.content_length is not None and request.content_length > LARGEST_BODY:
        return _answer(request, 413)
    body = await request.read()
    if len(body) > LARGEST_BODY:
        return _answer(request, 413)
    try:
        await request.app[ACCEPTOR].accept(_arrival(request, body))
    except NotDurable:
        log.warning("callback.not_durable")
        return _answer(request, 503)
    return _answer(request, 200)


def _arrival(request: web.Request, body: bytes) -> Arrival:
    topic = MITTO_INBOUND if request.path.endswith("/inbound") else MITTO_RECEIPT
    raw = msgspec.json.encode(
        Callback(
            request.method, {key: _clean(value) for key, value in request.query.items()}, request.content_type, body
        )
    )
    event_id = WebhookEventId(new_id())
    return Arrival(
        shop_id=SYSTEM,
        event_id=event_id,
        topic=topic,
        # A repeated report changes nothing and is dropped here. Two equal texts may be two STOPs: each is kept.
        webhook_id=hashlib.sha256(raw).hexdigest() if topic == MITTO_RECEIPT else event_id.hex,
        shopify_event_id=None,
        shop_domain="",
        api_version=None,
        triggered_at=None,
        received_at=request.app[RUNTIME].now(),
        request_id=request[REQUEST_ID],
        body=raw,
    )


def _clean(value: str) -> str:
    return value.encode("utf-8", "replace").decode()


def _answer(request: web.Request, status: int) -> web.Response:
    request.app[RUNTIME].metrics.webhooks.labels(caller="mitto", answer=str(status)).inc()
    return web.Response(status=status, text="ok\n" if status == 200 else f"{status}\n")
