"""What every long-running process does alike: uvloop, logs, signals, and errors that nobody caught."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import uvloop

from smsblossom import telemetry
from smsblossom.settings import Settings
from smsblossom.telemetry import Metrics

log = structlog.get_logger()


def run(settings: Settings, body: Callable[[asyncio.Event, asyncio.Event], Awaitable[None]], metrics: Metrics) -> None:
    """Run `body(stop, halt)` until it returns. The first SIGTERM or SIGINT sets `stop`, the second `halt`."""
    telemetry.configure_logging(settings.log_level, settings.log_format)
    _collect_less()

    async def start() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: _unhandled(context, metrics))
        stop, halt = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _on_signal, stop, halt)
        await body(stop, halt)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(start())


def _collect_less() -> None:
    """Look for garbage cycles once in many requests, and never among what start-up made: 5% of the receiver's time."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _on_signal(stop: asyncio.Event, halt: asyncio.Event) -> None:
    (halt if stop.is_set() else stop).set()


def _unhandled(context: dict[str, Any], metrics: Metrics) -> None:
    """An error in a task that nobody awaits is logged and counted; it ends nothing silently."""
    error = context.get("exception")
    metrics.loop_errors.labels(where="event_loop").inc()
    log.error("loop.unhandled", detail=context.get("message"), exc_info=error if isinstance(error, Exception) else None)
