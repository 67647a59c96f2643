"""What the engine tells the outside, and the default listener: structlog."""

from datetime import timedelta
from functools import cached_property
from typing import Any, Protocol

import structlog

from smsblossom.queue.run import Run


class Events(Protocol):
    """Called in the event loop, so each must return quickly. An exception here is logged and harms no job.

    Durations are in seconds. `started` runs inside the job's own task, so what it binds to contextvars stays there.
    """

    def started(self, run: Run, *, lag: float) -> None: ...
    def succeeded(self, run: Run, *, took: float, result: object) -> None: ...
    def retried(self, run: Run, *, took: float, error: BaseException, wait: float) -> None: ...
    def failed(self, run: Run, *, took: float, error: BaseException) -> None:
        """Ended without success and without a dead letter: aborted or expired."""

    def died(self, run: Run, *, took: float, error: BaseException) -> None: ...
    def released(self, run: Run, *, reason: str) -> None:
        """Given back without an attempt: shutdown, or a function this release does not know."""

    def stalled(self, run: Run) -> None:
        """Taken over from a worker that died under it; `run.stalls` counts."""

    def lost(self, run: Run) -> None:
        """Another worker has taken this job; the run here is cancelled and its end will not be written."""

    def lag(self, queue: str, *, oldest: timedelta, waiting: int) -> None:
        """Told every few seconds: the age of the queue's oldest due job, and how many wait."""

    def unreachable(self, queue: str, *, error: BaseException) -> None: ...
    def recovered(self, queue: str) -> None: ...


class LogEvents:
    """Log lines with the job's id, function, shop and request id; no payload."""

    def __init__(self, logger: Any = None) -> None:
        self._given = logger

    @cached_property
    def _log(self) -> Any:
        """Bound at the first event, when logging is configured: an unbound logger binds itself anew at every line."""
        return (self._given or structlog.get_logger("smsblossom.queue")).bind()

    def started(self, run: Run, *, lag: float) -> None:
        structlog.contextvars.bind_contextvars(job_id=run.job_id, queue=run.queue, function=run.function, **run.labels)
        self._log.info("job.started", attempt=run.attempt, lag=round(lag, 3))

    def succeeded(self, run: Run, *, took: float, result: object) -> None:  # noqa: ARG002
        self._log.info("job.succeeded", attempt=run.attempt, took=round(took, 4))

    def retried(self, run: Run, *, took: float, error: BaseException, wait: float) -> None:
        self._log.warning(
            "job.retried", attempt=run.attempt, took=round(took, 4), error=type(error).__name__, wait=round(wait, 2)
        )

    def failed(self, run: Run, *, took: float, error: BaseException) -> None:
        self._log.warning("job.failed", **_facts(run), took=round(took, 4), error=type(error).__name__)

    def died(self, run: Run, *, took: float, error: BaseException) -> None:
        self._log.error("job.died", **_facts(run), took=round(took, 4), error=type(error).__name__, exc_info=error)

    def released(self, run: Run, *, reason: str) -> None:
        self._log.info("job.released", **_facts(run), reason=reason)

    def stalled(self, run: Run) -> None:
        self._log.warning("job.stalled", **_facts(run), stalls=run.stalls)

    def lost(self, run: Run) -> None:
        self._log.error("job.lost", **_facts(run))

    def lag(self, queue: str, *, oldest: timedelta, waiting: int) -> None:
        if oldest > timedelta(seconds=60):
            self._log.warning("queue.lagging", queue=queue, oldest=round(oldest.total_seconds(), 1), waiting=waiting)

    def unreachable(self, queue: str, *, error: BaseException) -> None:
        self._log.warning("queue.unreachable", queue=queue, error=type(error).__name__)

    def recovered(self, queue: str) -> None:
        self._log.info("queue.recovered", queue=queue)


def _facts(run: Run) -> dict[str, Any]:
    return {
        "job_id": run.job_id, "queue": run.queue, "function": run.function, "attempt": run.attempt, **run.labels,
    }  # fmt: skip
