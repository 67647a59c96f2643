"""Probes: alive, ready, whether the queues are served, and what Prometheus reads."""

import hmac
from typing import Any

import msgspec
from aiohttp import web

from smsblossom.queue.connection import QueueUnavailable
from smsblossom.queue.control import QueueStats
from smsblossom.queue.jobinfo import JobState
from smsblossom.store.engine import StoreUnavailable
from smsblossom.usecases import queues, telling
from smsblossom.usecases.alerts import alerts_of, thresholds_of
from webhooks.state import METRICS_BOARD, RUNTIME


def routes() -> list[web.RouteDef]:
    return [
        web.get("/health", ready),
        web.get("/health/live", live),
        web.get("/health/ready", ready),
        web.get("/queue/health", queue_health),
        web.get("/queue/metrics", metrics),
    ]


async def live(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """503 without PostgreSQL. Without Redis still 200: the receiver accepts, and a balancer must not drop webhooks."""
    runtime = request.app[RUNTIME]
    try:
        await runtime.store.ping()
    except StoreUnavailable:
        return web.json_response({"status": "down", "postgresql": "down"}, status=503)
    try:
        await runtime.queue.ping()
        redis = "ok"
    except QueueUnavailable:
        redis = "down"
    return web.json_response({"status": "ok", "postgresql": "ok", "redis": redis})


async def queue_health(request: web.Request) -> web.Response:
    """503 when Redis is gone, or when any of the five queues had no worker's heartbeat for 15 s.

    `alerts` tells which thresholds are exceeded; they are for a person and do not change the status.
    """
    runtime = request.app[RUNTIME]
    try:
        stats = await queues.stats(runtime)
    except QueueUnavailable:
        return web.json_response({"status": "down", "redis": "down"}, status=503)
    served = all(queue.workers for queue in stats)
    answer: dict[str, Any] = {
        "status": "ok" if served else "down",
        "redis": "ok",
        "alerts": [msgspec.structs.asdict(alert) for alert in alerts_of(stats, thresholds_of(runtime.settings))],
        "queues": {queue.queue: _spoken(queue) for queue in stats},
    }
    return web.json_response(answer, status=200 if served else 503)


async def metrics(request: web.Request) -> web.Response:
    """The sums over all processes. Where METRICS_TOKEN is set, for its bearer alone."""
    runtime = request.app[RUNTIME]
    token = runtime.settings.metrics_token
    given = request.headers.get("Authorization", "").encode("utf-8", "replace")
    if token and not hmac.compare_digest(given, f"Bearer {token}".encode()):
        return web.Response(status=401, text="send Authorization: Bearer METRICS_TOKEN\n")
    try:
        stats = await queues.stats(runtime)
    except QueueUnavailable:
        stats = []
    text = await telling.page(request.app[METRICS_BOARD], stats, thresholds_of(runtime.settings))
    return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _spoken(queue: QueueStats) -> dict[str, Any]:
    oldest = round(queue.oldest.total_seconds(), 3)
    worker = "ok" if queue.workers else "none"
    facts = {"worker": worker, "workers": len(queue.workers), "paused": queue.is_paused, "oldest_s": oldest}
    return {**facts, **_counts(queue)}


def _counts(queue: QueueStats) -> dict[str, int]:
    builtins = msgspec.structs.asdict(queue)
    return {state.value: builtins[state.value] for state in JobState}
