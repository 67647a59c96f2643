"""The five queues in one place: slots, attempts, waits, time limits, rates, how long results are kept."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from smsblossom.jobs import Priority, QueueName

HEAD_STARTS: Mapping[Priority, timedelta] = {
    Priority.CRITICAL: timedelta(hours=1),
    Priority.HIGH: timedelta(minutes=10),
    Priority.NORMAL: timedelta(minutes=2),
    Priority.LOW: timedelta(seconds=30),
    Priority.BACKGROUND: timedelta(0),
}
"""How much older than its age a due job counts. A background job that waited an hour goes before a new critical one."""

RESERVED_PRIORITIES = frozenset({Priority.CRITICAL, Priority.HIGH})
"""Priorities that may use a queue's reserved slots."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The waits between attempts: one retry per entry. `jitter` 0.2 moves each wait by up to 20 % either way."""

    waits: tuple[timedelta, ...] = tuple(timedelta(seconds=s) for s in (1, 2, 4, 8, 16))
    jitter: float = 0.2

    @property
    def attempts(self) -> int:
        return len(self.waits) + 1


def next_wait(
    policy: RetryPolicy,
    attempt: int,
    *,
    after: timedelta | None = None,
    uniform: Callable[[float, float], float] = random.uniform,
) -> timedelta | None:
    """How long to wait after failed attempt number `attempt` (from 1), or None when it was the last."""
    if attempt >= policy.attempts:
        return None
    if after is not None:
        return max(after, timedelta(0))
    return policy.waits[attempt - 1] * (1 + uniform(-policy.jitter, policy.jitter) if policy.jitter else 1)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` job starts per `per`, as a token bucket of `count` tokens."""

    count: int
    per: timedelta = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class GroupLimit:
    """What each group of a kind (`shop:…`, `sender:…`: the word before the colon) may use, over all workers."""

    concurrency: int | None = None
    rate: Rate | None = None


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """How one queue is worked.

    `concurrency` is slots per worker process, `reserved` of them only for critical and high jobs;
    `fleet_concurrency` counts over all workers. Results are kept for `keep_result_in`.
    """

    concurrency: int
    reserved: int = 0
    fleet_concurrency: int | None = None
    retries: RetryPolicy = RetryPolicy()
    time_limit_in: timedelta = timedelta(minutes=5)
    rate: Rate | None = None
    groups: Mapping[str, GroupLimit] = field(default_factory=dict)
    keep_result_in: timedelta = timedelta(minutes=10)


def to_ms(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)


Topology = Mapping[QueueName, QueuePlan]

TOPOLOGY: Topology = {
    QueueName.EVENTS: QueuePlan(concurrency=10, time_limit_in=timedelta(minutes=1)),
    QueueName.AUTOMATIONS: QueuePlan(concurrency=10, time_limit_in=timedelta(minutes=1)),
    QueueName.CAMPAIGNS: QueuePlan(concurrency=3, time_limit_in=timedelta(minutes=5)),
    QueueName.DELIVERY: QueuePlan(concurrency=20, reserved=4, time_limit_in=timedelta(minutes=1)),
    QueueName.HOUSEKEEPING: QueuePlan(concurrency=2, time_limit_in=timedelta(minutes=10)),
}


def with_overrides(topology: Topology, overrides: Mapping[QueueName, Mapping[str, Any]]) -> Topology:
    """The topology with some fields of some queues replaced. Raises TypeError on a field that does not exist."""
    return {name: replace(plan, **overrides.get(name, {})) for name, plan in topology.items()}
