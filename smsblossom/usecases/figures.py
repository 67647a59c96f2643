"""Figures of the last minute and since the counters began, from the metrics of all processes. Pure.

Counters only ever rise, so a rate is the difference between two readings of them.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from smsblossom.jobs import QueueName
from smsblossom.queue.metrics_board import Family

WINDOW_S: Final = 60.0
_Name = TypeVar("_Name", str, float)
_ENDS: Final = ("succeeded", "failed", "dead")
_OUTCOMES: Final = (*_ENDS, "retried", "stalled")
_JOBS: Final = "smsblossom_jobs_total"
_SECONDS: Final = "smsblossom_job_seconds"
_REQUESTS: Final = "smsblossom_http_requests_total"


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Jobs of one queue by outcome, and how long those that succeeded took: `buckets` by upper bound, cumulative."""

    outcomes: Mapping[str, float] = field(default_factory=dict)
    buckets: Mapping[float, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def ended(self) -> float:
        return sum(self.outcomes.get(outcome, 0.0) for outcome in _ENDS)

    @property
    def success_rate(self) -> float | None:
        return self.outcomes.get("succeeded", 0.0) / self.ended if self.ended else None

    @property
    def timed(self) -> float:
        return self.buckets.get(math.inf, 0.0)

    @property
    def average_s(self) -> float | None:
        return self.seconds / self.timed if self.timed else None

    @property
    def p95_s(self) -> float | None:
        return quantile(self.buckets, 0.95)


@dataclass(frozen=True, slots=True)
class Reading:
    """All counters at one moment; `at` in seconds of a monotonic clock."""

    at: float
    queues: Mapping[str, JobCounts]
    requests: float
    errors: float


class Readings:
    """The readings of the last minute, oldest first."""

    def __init__(self) -> None:
        self._kept: deque[Reading] = deque()

    def add(self, reading: Reading) -> None:
        """Keep a reading, and of those older than a minute the youngest alone."""
        self._kept.append(reading)
        while len(self._kept) > 1 and reading.at - self._kept[1].at >= WINDOW_S:
            self._kept.popleft()

    def before(self, reading: Reading) -> Reading:
        """The reading of a minute ago, or the oldest there is."""
        return self._kept[0] if self._kept else reading


def reading(families: Sequence[Family], *, at: float) -> Reading:
    """The counters in these families."""
    outcomes: dict[str, dict[str, float]] = {}
    buckets: dict[str, dict[float, float]] = {}
    seconds: dict[str, float] = {}
    requests = errors = 0.0
    for sample in (sample for family in families for sample in family.samples):
        labels = dict(sample.labels)
        queue = labels.get("queue", "")
        if sample.name == _JOBS:
            _add(outcomes.setdefault(queue, {}), labels["outcome"], sample.value)
        elif sample.name == f"{_SECONDS}_bucket":
            _add(buckets.setdefault(queue, {}), float(labels["le"]), sample.value)
        elif sample.name == f"{_SECONDS}_sum":
            _add(seconds, queue, sample.value)
        elif sample.name == _REQUESTS:
            requests += sample.value
            errors += sample.value if labels["status"].startswith("5") else 0.0
    queues = {
        name.value: JobCounts(outcomes.get(name, {}), buckets.get(name, {}), seconds.get(name, 0.0))
        for name in QueueName
    }
    return Reading(at, queues, requests, errors)


def between(before: JobCounts, after: JobCounts) -> JobCounts:
    """What was counted between two readings; never below zero, should a process's figures have been lost."""
    return JobCounts(
        _risen(before.outcomes, after.outcomes), _risen(before.buckets, after.buckets), after.seconds - before.seconds
    )


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """The duration that this share of the observations stayed below, by interpolation within its bucket.

    As Prometheus's `histogram_quantile`: in the last, open bucket it is that bucket's lower bound.
    """
    total = buckets.get(math.inf, 0.0)
    if not total:
        return None
    wanted, low, below = total * share, 0.0, 0.0
    for bound in sorted(buckets):
        count = buckets[bound]
        if count >= wanted:
            return low if math.isinf(bound) else low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return low


def outcomes_of(counts: JobCounts) -> dict[str, int]:
    return {outcome: round(counts.outcomes.get(outcome, 0.0)) for outcome in _OUTCOMES}


def _add(sums: dict[_Name, float], name: _Name, value: float) -> None:
    sums[name] = sums.get(name, 0.0) + value


def _risen(before: Mapping[_Name, float], after: Mapping[_Name, float]) -> dict[_Name, float]:
    return {name: max(0.0, value - before.get(name, 0.0)) for name, value in after.items()}
