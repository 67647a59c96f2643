"""A process's sign of life in PostgreSQL, every few seconds, and its clean stop."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog

from smsblossom.bootstrap import Runtime, host_name, process_number
from smsblossom.store import workers
from smsblossom.store.engine import StoreUnavailable

log = structlog.get_logger()

EVERY_S: Final = 3.0


@asynccontextmanager
async def beating(runtime: Runtime, *, kind: str, queues: Sequence[str]) -> AsyncIterator[None]:
    """Beat while the body runs; afterwards record that this process stopped cleanly."""
    await _beat(runtime, kind, queues)
    task = asyncio.create_task(_keep_beating(runtime, kind, queues), name="heartbeat")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        try:
            async with runtime.store.transaction() as connection:
                await workers.stop(connection, runtime.process_id)
        except StoreUnavailable:
            log.warning("heartbeat.stop_not_recorded")


async def _keep_beating(runtime: Runtime, kind: str, queues: Sequence[str]) -> None:
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            await _beat(runtime, kind, queues)
        except StoreUnavailable:
            log.warning("heartbeat.missed")


async def _beat(runtime: Runtime, kind: str, queues: Sequence[str]) -> None:
    async with runtime.store.transaction() as connection:
        await workers.beat(
            connection,
            runtime.process_id,
            kind=kind,
            host=host_name(),
            pid=process_number(),
            queues=[str(queue) for queue in queues],
        )
