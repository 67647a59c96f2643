"""The composition root: opens and closes engines, Redis and HTTP clients, and hands them on as one frozen Runtime.

The only place that asks the clock. Everything below takes `now` as an argument.
"""

import hashlib
import hmac
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from smsblossom.domain.ids import SYSTEM
from smsblossom.queue.client import QueueClient, open_client
from smsblossom.settings import Settings
from smsblossom.sms import http
from smsblossom.sms.mitto_classic import MittoClassic
from smsblossom.sms.provider import Provider
from smsblossom.store import controls
from smsblossom.store.engine import Store, open_store
from smsblossom.store.ids import new_id
from smsblossom.telemetry import Metrics
from smsblossom.vault import Vault


class WrongKey(Exception):  # noqa: N818
    """BLIND_INDEX_KEY is not the key this database was made with; every opt-out would be missed."""


class Clock:
    """Business time. Tests and dry runs move it; leases do not follow."""

    def __init__(self) -> None:
        self.offset = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a use case needs of the world."""

    settings: Settings
    store: Store
    queue: QueueClient
    vault: Vault
    provider: Provider
    metrics: Metrics
    clock: Clock
    process_id: UUID
    """This process's row in `workers`; the owner of its claims."""

    def now(self) -> datetime:
        return self.clock.now()


@asynccontextmanager
async def open_runtime(
    settings: Settings, *, clock: Clock | None = None, pool_size: int = 10, metrics: Metrics | None = None
) -> AsyncIterator[Runtime]:
    """Everything a process needs, opened in order and closed in reverse.

    Raises:
        StoreUnavailable: PostgreSQL cannot be reached.
        UnsafeRole: DATABASE_URL names a role that row-level security does not hold.
        WrongKey: BLIND_INDEX_KEY differs from the one this database knows.

    """
    clock = clock or Clock()
    vault = Vault(settings.encryption_keys, settings.blind_index_key)
    async with (
        open_store(settings.database_url, pool_size=pool_size) as store,
        open_client(settings.redis_url) as queue,
        open_provider(settings) as provider,
    ):
        await store.refuse_unsafe_role()
        await refuse_wrong_key(store, settings.blind_index_key, now=clock.now())
        yield Runtime(
            settings=settings,
            store=store,
            queue=queue,
            vault=vault,
            provider=provider,
            metrics=metrics or Metrics(),
            clock=clock,
            process_id=new_id(),
        )


@asynccontextmanager
async def open_provider(settings: Settings) -> AsyncIterator[Provider]:
    async with http.open_client(
        settings.mitto_base_url,
        connect_timeout_s=settings.mitto_connect_timeout_s,
        read_timeout_s=settings.mitto_read_timeout_s,
    ) as client:
        yield MittoClassic(client, api_key=settings.mitto_api_key, callback_url=f"{settings.callback_base}/dlr")


async def refuse_wrong_key(store: Store, key: bytes, *, now: datetime) -> None:
    """Compare the key with the check value that the first start left in the database."""
    mine = hmac.new(key, b"smsblossom blind index check", hashlib.sha256).hexdigest()
    async with store.transaction(SYSTEM) as connection:
        known = await controls.put_once(connection, controls.BLIND_INDEX_CHECK, mine, by="start", now=now)
    if not hmac.compare_digest(known, mine):
        raise WrongKey("BLIND_INDEX_KEY is not the key this database was made with; it never rotates, restore it")


def host_name() -> str:
    return socket.gethostname()


def process_number() -> int:
    return os.getpid()
