"""Probes: alive, ready, and whether the queues are served."""

from datetime import timedelta
from typing import Any, Final

from aiohttp import web

from smsblossom.jobs import QueueName
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.store import workers
from smsblossom.store.engine import StoreUnavailable
from webhooks.state import RUNTIME

HEARTBEAT_WITHIN: Final = timedelta(seconds=15)


def routes() -> list[web.RouteDef]:
    return [
        web.get("/health", ready),
        web.get("/health/live", live),
        web.get("/health/ready", ready),
        web.get("/queue/health", queue_health),
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
    redis = "ok" if await _redis_answers(request) else "down"
    return web.json_response({"status": "ok", "postgresql": "ok", "redis": redis})


async def queue_health(request: web.Request) -> web.Response:
    """503 when Redis is gone, or when any of the five queues had no worker's heartbeat for 15 s."""
    answer: dict[str, Any] = {"redis": "ok" if await _redis_answers(request) else "down"}
    try:
        async with request.app[RUNTIME].store.transaction() as connection:
            served = await workers.served_queues(connection, within=HEARTBEAT_WITHIN)
    except StoreUnavailable:
        return web.json_response({**answer, "status": "down", "postgresql": "down"}, status=503)
    answer["queues"] = {name: {"worker": "ok" if name in served else "none"} for name in QueueName}
    healthy = answer["redis"] == "ok" and all(name in served for name in QueueName)
    answer["status"] = "ok" if healthy else "down"
    return web.json_response(answer, status=200 if healthy else 503)


async def _redis_answers(request: web.Request) -> bool:
    try:
        await request.app[RUNTIME].queue.ping()
    except QueueUnavailable:
        return False
    return True
