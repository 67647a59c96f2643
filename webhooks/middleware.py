"""Around every request: its id, accepted or made, bound to the log and answered back; and its count."""

import re
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web

from smsblossom.store.ids import new_request_id
from smsblossom.telemetry import labelled
from webhooks.state import REQUEST_ID, RUNTIME

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_ACCEPTABLE: Final = re.compile(r"[A-Za-z0-9._\-]{1,64}")
_AREAS: Final = frozenset({"api", "auth", "console", "health", "proxy", "queue", "s", "u", "webhooks"})
log = structlog.get_logger()


@web.middleware
async def observed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its id, and count it by the first word of its path and by the status it is answered with."""
    given = request.headers.get("X-Request-Id", "")
    known_as = request[REQUEST_ID] = given if _ACCEPTABLE.fullmatch(given) else new_request_id()
    # Never unbound: a connection's task serves one request after another, and each binds its own.
    structlog.contextvars.bind_contextvars(request_id=known_as)
    try:
        response = await handler(request)
    except web.HTTPException as answer:
        answer.headers["X-Request-Id"] = known_as
        _count(request, answer.status)
        raise
    except Exception:
        log.exception("request.failed", method=request.method)
        response = web.Response(status=500, text="internal error\n")
    response.headers["X-Request-Id"] = known_as
    _count(request, response.status)
    return response


def _count(request: web.Request, status: int) -> None:
    first = request.path.split("/", 2)[1]
    area = first if first in _AREAS else "other"
    labelled(request.app[RUNTIME].metrics.requests, area, str(status)).inc()
