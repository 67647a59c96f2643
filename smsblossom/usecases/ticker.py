"""The ticker: beside the sweeper, every second. Fires schedules and finishes what re-drives have begun."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import structlog

from smsblossom.bootstrap import Runtime
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.queue.registry import Registry
from smsblossom.store.engine import StoreUnavailable
from smsblossom.usecases import dead_letters, schedules

log = structlog.get_logger()

EVERY_S: Final = 1.0


async def run(runtime: Runtime, registry: Registry) -> NoReturn:
    """For ever; a failed step is told and the next round comes."""
    is_seeded = False
    while True:
        is_seeded = is_seeded or await _step(runtime, "seed", lambda: schedules.seed(runtime))
        await _step(runtime, "fire", lambda: schedules.fire_due(runtime))
        await _step(runtime, "add", lambda: schedules.add_jobs(runtime, registry))
        await _step(runtime, "redrive", lambda: dead_letters.finish_redrives(runtime))
        await asyncio.sleep(EVERY_S)


async def _step(runtime: Runtime, name: str, step: Callable[[], Awaitable[object]]) -> bool:
    """Whether the step was done. A server that is away is the sweeper's and the probes' news, not an error here."""
    try:
        await step()
    except (StoreUnavailable, QueueUnavailable) as error:
        log.debug("ticker.waits", step=name, error=type(error).__name__)
        return False
    except Exception:
        log.exception("ticker.failed", step=name)
        runtime.metrics.loop_errors.labels(where=f"ticker.{name}").inc()
        return False
    return True
