"""One job on one worker, from claim to end."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from smsblossom.jobs import Job
from smsblossom.queue.codec import Envelope

NO_LABELS: dict[str, str] = {}


class Run:
    """What the worker, its lease thread and the listeners know of a running job.

    `claimed_at` and `started_at` are monotonic seconds, `started_at` 0 until it starts; `…_ms` are the server's clock.
    """

    __slots__ = (
        "attempt",
        "attempts_before",
        "call",
        "claimed_at",
        "deadline",
        "enqueued_ms",
        "envelope",
        "function",
        "has_begun",
        "is_reserved",
        "job",
        "job_id",
        "owner",
        "queue",
        "report",
        "score",
        "stalls",
        "started_at",
        "started_ms",
        "stop_reason",
        "task",
    )

    def __init__(
        self, job_id: str, queue: str, owner: str, score: int, attempts_before: int, now_ms: int, claimed_at: float
    ) -> None:
        self.job_id = job_id
        self.queue = queue
        self.owner = owner
        self.score = score
        self.attempts_before = attempts_before
        self.attempt = attempts_before + 1
        self.started_ms = now_ms
        self.enqueued_ms = 0
        self.function = "<unknown>"
        self.is_reserved = False
        self.stalls = 0
        self.claimed_at = claimed_at
        self.has_begun = False
        self.started_at = 0.0
        self.deadline: float | None = None
        self.stop_reason: str | None = None
        self.envelope: Envelope | None = None
        self.job: Job | None = None
        self.call: Any = None
        self.task: asyncio.Task[None] | None = None
        self.report: Callable[[Run, float, str], Awaitable[None]] | None = None

    @property
    def labels(self) -> dict[str, str]:
        """Shop and request id, where the job's type is known."""
        if self.job is None:
            return NO_LABELS
        return {"shop_id": str(self.job.shop_id), "request_id": self.job.request_id}


_current: ContextVar[Run | None] = ContextVar("smsblossom_queue_run", default=None)


def current_run() -> Run | None:
    """The run this code is called from, or None outside a job."""
    return _current.get()


def enter(run: Run) -> None:
    _current.set(run)
