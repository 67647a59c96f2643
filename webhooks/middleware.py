"""The request id: accepted or made, bound to the log, answered back."""

import re
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web

from smsblossom.store.ids import new_id
from webhooks.state import REQUEST_ID

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_ACCEPTABLE: Final = re.compile(r"[A-Za-z0-9._\-]{1,64}")
log = structlog.get_logger()


@web.middleware
async def request_id(request: web.Request, handler: Handler) -> web.StreamResponse:
    given = request.headers.get("X-Request-Id", "")
    request[REQUEST_ID] = given if _ACCEPTABLE.fullmatch(given) else new_id().hex
    with structlog.contextvars.bound_contextvars(request_id=request[REQUEST_ID]):
        try:
            response = await handler(request)
        except web.HTTPException as answer:
            answer.headers["X-Request-Id"] = request[REQUEST_ID]
            raise
        except Exception:
            log.exception("request.failed", method=request.method)
            response = web.Response(status=500, text="internal error\n")
    response.headers["X-Request-Id"] = request[REQUEST_ID]
    return response
