"""The operator API as one aiohttp app, to be mounted at /api/v1."""

from importlib.metadata import version
from typing import Final

import msgspec
from aiohttp import web

from smsblossom.api import dead_letters, jobs, openapi, queues, snapshot
from smsblossom.api.auth import bearer
from smsblossom.api.problems import as_problems
from smsblossom.bootstrap import Runtime
from smsblossom.queue.metrics_board import MetricsBoard
from smsblossom.usecases.figures import Readings
from webhooks.state import METRICS_BOARD, RUNTIME

ENDPOINTS: Final = (*queues.ENDPOINTS, *jobs.ENDPOINTS, *dead_letters.ENDPOINTS, *snapshot.ENDPOINTS)


def make_api(runtime: Runtime, board: MetricsBoard) -> web.Application:
    """The API's own app: its token and its problem documents hold for every address below /api/v1, unknown ones too."""
    app = web.Application(middlewares=[as_problems, bearer])
    app[RUNTIME] = runtime
    app[METRICS_BOARD] = board
    app[snapshot.READINGS] = Readings()
    app.cleanup_ctx.append(snapshot.keep_reading)
    app.add_routes([endpoint.route() for endpoint in ENDPOINTS])
    description = openapi.document(
        ENDPOINTS, version=version("smsblossom"), server=runtime.settings.app_url.rstrip("/")
    )
    app.add_routes([web.get("/openapi.json", _Document(msgspec.json.encode(description)).answer)])
    return app


class _Document:
    """Answers with the OpenAPI document, made once."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def answer(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._body, content_type="application/json", charset="utf-8")
