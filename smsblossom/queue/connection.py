"""Connections to Redis: set to reconnect, never to hang, and one error for "it is not there"."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import redis.asyncio
import redis.backoff
import redis.retry
from arq.connections import ArqRedis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, RedisError, TimeoutError  # noqa: A004

from smsblossom.queue import codec

UNREACHABLE = (ConnectionError, TimeoutError, BusyLoadingError, OSError)


class QueueUnavailable(Exception):  # noqa: N818
    """Redis does not answer. Nothing was promised; the caller answers 503 or leaves it to the sweeper."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait for a connection, and how often to try again. Replies are bounded by the callers."""

    connect_s: float
    retries: int


CLIENT_PATIENCE = Patience(connect_s=0.4, retries=1)
WORKER_PATIENCE = Patience(connect_s=1.0, retries=3)


def open_redis(redis_url: str, patience: Patience, *, default_queue: str = "arq:queue") -> ArqRedis:
    """An unconnected pool for `redis://`, `rediss://` or `unix://` addresses."""
    pool = redis.asyncio.ConnectionPool.from_url(redis_url, **_options(patience))
    client = ArqRedis(pool, job_serializer=codec.dumps, job_deserializer=codec.loads, default_queue_name=default_queue)
    client.auto_close_connection_pool = True
    return client


def _options(patience: Patience) -> dict[str, Any]:
    return {
        "socket_connect_timeout": patience.connect_s,
        # A socket time-out costs a task per write; the callers bound whole calls instead.
        "socket_timeout": None,
        "retry": Retry(ExponentialBackoff(cap=0.2, base=0.02), patience.retries),
        "retry_on_error": [ConnectionError, OSError, BusyLoadingError],
        "health_check_interval": 0,
    }


def open_blocking_redis(redis_url: str, *, answer_s: float) -> redis.Redis:
    """A connection for use from a thread."""
    return redis.Redis.from_url(
        redis_url,
        socket_connect_timeout=1.0,
        socket_timeout=answer_s,
        retry=redis.retry.Retry(redis.backoff.ExponentialBackoff(cap=0.2, base=0.02), 1),
        retry_on_error=[ConnectionError, OSError],
    )


def blocking_twin(pool: redis.asyncio.Redis) -> redis.Redis:
    """A blocking connection to where this asyncio client leads."""
    options = pool.connection_pool.connection_kwargs
    names = ["db", "username", "password", *([] if "path" in options else ["host", "port"])]
    known: dict[str, Any] = {name: options[name] for name in names if options.get(name) is not None}
    if "path" in options:
        known["unix_socket_path"] = options["path"]
    return redis.Redis(**known, socket_timeout=1.0, socket_connect_timeout=1.0)


@asynccontextmanager
async def unavailable_as_error() -> AsyncIterator[None]:
    """Translate every way Redis can be absent into `QueueUnavailable`."""
    try:
        yield
    except (*UNREACHABLE, RedisError) as exc:
        raise QueueUnavailable(type(exc).__name__) from exc


_LIMIT_S = 0.95


@asynccontextmanager
async def within_a_second() -> AsyncIterator[None]:
    """Bound everything inside, and translate as `unavailable_as_error`."""
    async with unavailable_as_error(), asyncio.timeout(_LIMIT_S):
        yield
