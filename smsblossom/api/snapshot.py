"""`/metrics/snapshot`: how the service does, for those without Prometheus."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Final

import msgspec
import structlog
from aiohttp import web
from msgspec import Meta

from smsblossom.api.endpoints import Call, Endpoint
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.queue.metrics_board import Gathered, Vitals
from smsblossom.usecases import figures
from smsblossom.usecases.figures import JobCounts, Reading, Readings
from webhooks.state import METRICS_BOARD

log = structlog.get_logger()

READINGS = web.AppKey("readings", Readings)
_EVERY_S: Final = 5.0
_P95: Final = "by interpolation within the buckets of the duration histogram, so an estimate; null when nothing ran"

P95 = Annotated[float | None, Meta(description=_P95)]
Average = Annotated[float | None, Meta(description="seconds, of the runs that succeeded; null when nothing ran")]
Rate = Annotated[float | None, Meta(description="succeeded of all that ended, 0 to 1; null when nothing ended")]


class JobTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Since the counters began, over all processes. `retried` and `stalled` count runs, the others jobs that ended."""

    succeeded: int
    failed: int
    dead: int
    retried: int
    stalled: int
    success_rate: Rate
    average_s: Average
    p95_s: P95


class QueueFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One queue within the window; `totals` since the counters began."""

    jobs_per_minute: Annotated[float, Meta(description="jobs that ended, however they ended")]
    success_rate: Rate
    average_s: Average
    p95_s: P95
    totals: JobTotals


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the service. `cpu_percent` is of one processor, over the time it has run."""

    process_id: str
    pid: int
    memory_bytes: int
    cpu_s: float
    cpu_percent: float
    uptime_s: float


class Requests(msgspec.Struct, frozen=True, kw_only=True):
    """HTTP requests to all web processes. Errors are those answered 5xx."""

    per_minute: float
    errors_per_minute: float
    total: int
    errors_total: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """`window_s` is how far back the rates look: a minute, or less soon after the start."""

    window_s: float
    queues: Mapping[str, QueueFigures]
    requests: Requests
    process: Annotated[Process, Meta(description="the web process that answers")]
    processes: Annotated[list[Process], Meta(description="all, as each last reported itself within a minute")]


async def show(call: Call) -> Snapshot:
    """Jobs per minute, success rate, durations and totals per queue; processes and requests."""
    app = call.request.config_dict
    gathered = await app[METRICS_BOARD].everything()
    now = figures.reading(gathered.families, at=time.monotonic())
    return snapshot(app[READINGS].before(now), now, gathered, own_id=str(call.runtime.process_id))


def snapshot(before: Reading, now: Reading, gathered: Gathered, *, own_id: str) -> Snapshot:
    window_s = max(now.at - before.at, 0.001)
    requests = Requests(
        per_minute=_per_minute(now.requests - before.requests, window_s),
        errors_per_minute=_per_minute(now.errors - before.errors, window_s),
        total=round(now.requests),
        errors_total=round(now.errors),
    )
    return Snapshot(
        window_s=round(window_s, 3),
        queues={
            name: _figures_of(figures.between(before.queues[name], total), total, window_s)
            for name, total in now.queues.items()
        },
        requests=requests,
        process=_process_of(own_id, gathered.processes[own_id]),
        processes=[_process_of(process_id, vitals) for process_id, vitals in sorted(gathered.processes.items())],
    )


def _figures_of(window: JobCounts, total: JobCounts, window_s: float) -> QueueFigures:
    outcomes = figures.outcomes_of(total)
    totals = JobTotals(
        **outcomes,
        success_rate=_round(total.success_rate),
        average_s=_round(total.average_s),
        p95_s=_round(total.p95_s),
    )
    return QueueFigures(
        jobs_per_minute=_per_minute(window.ended, window_s),
        success_rate=_round(window.success_rate),
        average_s=_round(window.average_s),
        p95_s=_round(window.p95_s),
        totals=totals,
    )


def _process_of(process_id: str, vitals: Vitals) -> Process:
    return Process(
        process_id=process_id,
        pid=vitals.pid,
        memory_bytes=vitals.rss_bytes,
        cpu_s=vitals.cpu_s,
        cpu_percent=round(100 * vitals.cpu_s / vitals.up_s, 1) if vitals.up_s else 0.0,
        uptime_s=vitals.up_s,
    )


def _per_minute(count: float, window_s: float) -> float:
    return round(max(0.0, count) * 60 / window_s, 2)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


async def keep_reading(app: web.Application) -> AsyncIterator[None]:
    """Note the counters every few seconds while the app runs, so that rates can be told when asked for."""
    task = asyncio.create_task(_keep_reading(app), name="readings")
    yield
    task.cancel()
    await asyncio.wait([task])


async def _keep_reading(app: web.Application) -> None:
    while True:
        try:
            families = await app[METRICS_BOARD].gathered()
        except QueueUnavailable:
            log.debug("readings.missed")
        else:
            app[READINGS].add(figures.reading(families, at=time.monotonic()))
        await asyncio.sleep(_EVERY_S)


ENDPOINTS: Final = (Endpoint("GET", "/metrics/snapshot", show),)
