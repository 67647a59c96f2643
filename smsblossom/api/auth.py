"""`Authorization: Bearer API_TOKEN`, on everything but the document that describes the API."""

import hmac

from aiohttp import web

from smsblossom.api.problems import Answer, Handler
from webhooks.state import RUNTIME

OPEN_PATHS = frozenset({"/api/v1/openapi.json"})


@web.middleware
async def bearer(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path not in OPEN_PATHS and not _is_known(request):
        raise Answer(401, "send Authorization: Bearer API_TOKEN", headers={"WWW-Authenticate": "Bearer"})
    return await handler(request)


def _is_known(request: web.Request) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    token = request.config_dict[RUNTIME].settings.api_token
    # Compared whatever the scheme, in time that does not tell how much of it was right.
    matches = hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode())
    return matches and scheme.lower() == "bearer"
