"""Tell the world how the queues do: job events as metrics, figures onto the board, the page that Prometheus reads."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from smsblossom.bootstrap import Runtime
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.queue.control import QueueStats
from smsblossom.queue.events import LogEvents
from smsblossom.queue.jobinfo import JobState
from smsblossom.queue.metrics_board import GatheredCollector, MetricsBoard
from smsblossom.queue.run import Run
from smsblossom.telemetry import Metrics
from smsblossom.usecases.alerts import KINDS, Thresholds, alerts_of

log = structlog.get_logger()

EVERY_S: Final = 1.0


class MeasuredEvents(LogEvents):
    """The queue's events as log lines and as metrics."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self._metrics = metrics

    def started(self, run: Run, *, lag: float) -> None:
        super().started(run, lag=lag)
        self._metrics.job_lag_seconds.labels(queue=run.queue).observe(max(0.0, lag))

    def succeeded(self, run: Run, *, took: float, result: object) -> None:
        super().succeeded(run, took=took, result=result)
        self._metrics.job_seconds.labels(queue=run.queue, function=run.function).observe(took)
        self._count(run, "succeeded")

    def retried(self, run: Run, *, took: float, error: BaseException, wait: float) -> None:
        super().retried(run, took=took, error=error, wait=wait)
        self._count(run, "retried")

    def failed(self, run: Run, *, took: float, error: BaseException) -> None:
        super().failed(run, took=took, error=error)
        self._count(run, "failed")

    def died(self, run: Run, *, took: float, error: BaseException) -> None:
        super().died(run, took=took, error=error)
        self._count(run, "dead")

    def stalled(self, run: Run) -> None:
        super().stalled(run)
        self._count(run, "stalled")

    def lag(self, queue: str, *, oldest: timedelta, waiting: int) -> None:
        super().lag(queue, oldest=oldest, waiting=waiting)
        self._metrics.queue_oldest_seconds.labels(queue=queue).set(oldest.total_seconds())

    def _count(self, run: Run, outcome: str) -> None:
        self._metrics.jobs.labels(queue=run.queue, function=run.function, outcome=outcome).inc()


@asynccontextmanager
async def publishing(runtime: Runtime) -> AsyncIterator[MetricsBoard]:
    """Keep this process's figures on the board while the body runs, and leave the last ones there."""
    board = MetricsBoard(runtime.queue.redis, runtime.metrics.registry, runtime.process_id)
    task = asyncio.create_task(_keep_publishing(board), name="metrics")
    try:
        yield board
    finally:
        task.cancel()
        await asyncio.wait([task])
        await _publish(board)


async def _keep_publishing(board: MetricsBoard) -> None:
    while True:
        await _publish(board)
        await asyncio.sleep(EVERY_S)


async def _publish(board: MetricsBoard) -> None:
    try:
        await board.publish()
    except QueueUnavailable:
        log.debug("metrics.not_published")
    except Exception:
        log.exception("metrics.failed")


async def page(board: MetricsBoard, queues: Sequence[QueueStats], thresholds: Thresholds) -> bytes:
    """The text that Prometheus scrapes: sums over all processes, and how the queues stand now."""
    registry = CollectorRegistry()
    try:
        gathered = await board.gathered()
    except QueueUnavailable:
        gathered = board.own()
    registry.register(GatheredCollector(gathered))
    _add_gauges(registry, queues)
    _add_alerts(registry, queues, thresholds)
    return generate_latest(registry)


def _add_gauges(registry: CollectorRegistry, queues: Sequence[QueueStats]) -> None:
    gauge = partial(Gauge, registry=registry)
    jobs = gauge("smsblossom_queue_jobs", "Jobs by queue and state", ["queue", "state"])
    oldest = gauge("smsblossom_queue_oldest_seconds", "Age of the oldest due job", ["queue"])
    workers = gauge("smsblossom_queue_workers", "Workers alive within the last 15 s", ["queue"])
    paused = gauge("smsblossom_queue_paused", "1 while an operator has paused the queue", ["queue"])
    for queue in queues:
        for state in JobState:
            jobs.labels(queue=queue.queue, state=state.value).set(getattr(queue, state.value))
        oldest.labels(queue=queue.queue).set(queue.oldest.total_seconds())
        workers.labels(queue=queue.queue).set(len(queue.workers))
        paused.labels(queue=queue.queue).set(queue.is_paused)


def _add_alerts(registry: CollectorRegistry, queues: Sequence[QueueStats], thresholds: Thresholds) -> None:
    raised = {(alert.queue, alert.alert) for alert in alerts_of(queues, thresholds)}
    gauge = Gauge("smsblossom_queue_alert", "1 while above its threshold", ["queue", "alert"], registry=registry)
    for queue in queues:
        for kind in KINDS:
            gauge.labels(queue=queue.queue, alert=kind).set((queue.queue, kind) in raised)
