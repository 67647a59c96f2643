"""`smsblossom serve`: the web process. Joins the route lists into one aiohttp app."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click
import structlog
from aiohttp import web

import webhooks.gdpr
import webhooks.middleware
import webhooks.mitto
import webhooks.probes
import webhooks.shopify
from smsblossom import settings as settings_module
from smsblossom.api.app import make_api
from smsblossom.bootstrap import Runtime, open_runtime
from smsblossom.cli import process
from smsblossom.cli.heartbeat import beating
from smsblossom.queue.metrics_board import MetricsBoard
from smsblossom.settings import Settings
from smsblossom.shopify.signatures import WebhookVerifier
from smsblossom.telemetry import Metrics
from smsblossom.usecases import audit
from smsblossom.usecases.accept import Acceptor, open_acceptor
from smsblossom.usecases.telling import publishing
from webhooks.state import ACCEPTOR, METRICS_BOARD, RUNTIME, VERIFIER

log = structlog.get_logger()


@click.command()
@click.option("--host", help="Address to listen on; HOST otherwise.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; PORT otherwise. 0 picks a free one.")
def serve(host: str | None, port: int | None) -> None:
    """Receive webhooks and answer the probes.

    Stateless: run as many as you like behind a balancer. Stops on SIGTERM after answering what it has read.
    """
    settings = settings_module.load()
    metrics = Metrics()

    async def body(stop: asyncio.Event, _halt: asyncio.Event) -> None:
        async with (
            open_runtime(settings, metrics=metrics) as runtime,
            beating(runtime, kind="web", queues=()),
            audit.replaying(runtime),
            listening(runtime, host or settings.host, settings.port if port is None else port) as address,
        ):
            log.info("serve.ready", address=address)
            await stop.wait()
            log.info("serve.stopping")

    process.run(settings, body, metrics)


@asynccontextmanager
async def listening(runtime: Runtime, host: str, port: int) -> AsyncIterator[str]:
    """The web app, answering at the yielded address until the body ends."""
    async with (
        open_acceptor(runtime.store, runtime.queue, runtime.vault, runtime.metrics) as acceptor,
        publishing(runtime) as board,
    ):
        app = make_app(runtime, acceptor, board)
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=75, shutdown_timeout=5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port, backlog=1024)
            await site.start()
            yield f"http://{host}:{_port_of(runner)}"
        finally:
            await runner.cleanup()


def make_app(runtime: Runtime, acceptor: Acceptor, board: MetricsBoard) -> web.Application:
    settings: Settings = runtime.settings
    around = [webhooks.middleware.observed]
    app = web.Application(middlewares=around, client_max_size=webhooks.shopify.LARGEST_BODY)
    app[RUNTIME] = runtime
    app[ACCEPTOR] = acceptor
    app[METRICS_BOARD] = board
    app[VERIFIER] = WebhookVerifier(settings.shopify_api_secrets)
    app.add_routes(webhooks.gdpr.routes())
    app.add_routes(webhooks.shopify.routes())
    app.add_routes(webhooks.mitto.routes())
    app.add_routes(webhooks.probes.routes())
    app.add_subapp("/api/v1", make_api(runtime, board))
    return app


def _port_of(runner: web.AppRunner) -> int:
    for address in runner.addresses:
        if isinstance(address, tuple):
            return int(address[1])
    return 0
