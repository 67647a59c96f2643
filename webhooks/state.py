"""What the routes share, by typed keys on the aiohttp app."""

from aiohttp import web

from smsblossom.bootstrap import Runtime
from smsblossom.queue.metrics_board import MetricsBoard
from smsblossom.shopify.signatures import WebhookVerifier
from smsblossom.usecases.accept import Acceptor

RUNTIME = web.AppKey("runtime", Runtime)
ACCEPTOR = web.AppKey("acceptor", Acceptor)
METRICS_BOARD = web.AppKey("metrics_board", MetricsBoard)
VERIFIER = web.AppKey("verifier", WebhookVerifier)
REQUEST_ID = web.RequestKey("request_id", str)
"""Set by the middleware: the caller's X-Request-Id, or a new one."""
