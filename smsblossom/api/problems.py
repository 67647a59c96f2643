"""Errors as RFC 9457 problem documents, with the request id that leads to the log."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import msgspec
import structlog
from aiohttp import web

from smsblossom.queue.connection import QueueUnavailable
from smsblossom.store.engine import StoreUnavailable
from smsblossom.usecases.manage import Conflict, NotFound, Refused
from smsblossom.usecases.queues import TooLarge
from webhooks.state import REQUEST_ID

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MEDIA_TYPE: Final = "application/problem+json"
_SOON: Final = {"Retry-After": "5"}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457. `detail` names the field at fault and shows a valid example; `request_id` is in the service's log."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str


class Answer(Exception):  # noqa: N818
    """Ends a request with this problem."""

    def __init__(self, status: int, detail: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


@web.middleware
async def as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong below comes out as a problem document."""
    try:
        return await handler(request)
    except Exception as error:
        answer = _answer_to(error)
        if answer.status >= 500:
            log.warning("api.failed", path=request.path, status=answer.status, exc_info=_unforeseen(answer, error))
        return _response(request, answer)


_REFUSALS: Final[tuple[tuple[type[Refused], int], ...]] = (
    (NotFound, 404),
    (Conflict, 409),
    (TooLarge, 413),
    (Refused, 400),
)
"""The nearer kinds first: all of them are `Refused`."""


def _answer_to(error: Exception) -> Answer:
    match error:
        case Answer():
            return error
        case Refused():
            return Answer(next(status for kind, status in _REFUSALS if isinstance(error, kind)), str(error))
        case QueueUnavailable():
            return Answer(503, "Redis does not answer; nothing was changed, ask again", headers=_SOON)
        case StoreUnavailable():
            return Answer(503, "PostgreSQL does not answer; ask again", headers=_SOON)
        case web.HTTPException():
            return _answer_to_router(error)
        case _:
            return Answer(500, "an error of ours; the log has it under this request id")


def _answer_to_router(error: web.HTTPException) -> Answer:
    match error:
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            detail = f"{error.method} is not for this address; it takes {allowed}"
            return Answer(405, detail, headers={"Allow": allowed})
        case web.HTTPNotFound():
            return Answer(404, "there is nothing at this address; all of them are in /api/v1/openapi.json")
        case _:
            return Answer(error.status, error.reason)


def _unforeseen(answer: Answer, error: Exception) -> Exception | None:
    return error if answer.status == 500 else None


def _response(request: web.Request, answer: Answer) -> web.Response:
    document = Problem(
        title=HTTPStatus(answer.status).phrase,
        status=answer.status,
        detail=answer.detail,
        request_id=request[REQUEST_ID],
    )
    return web.Response(
        status=answer.status, body=msgspec.json.encode(document), content_type=MEDIA_TYPE, headers=answer.headers
    )
