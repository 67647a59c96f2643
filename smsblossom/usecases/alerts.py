"""When a queue needs a person: too many jobs wait, too many fail, or one has waited for too long. Pure."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Literal

import msgspec

from smsblossom.queue.control import QueueStats
from smsblossom.settings import Settings

Kind = Literal["waiting", "failed", "oldest"]
KINDS: Final[tuple[Kind, ...]] = ("waiting", "failed", "oldest")


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """An alert is raised above these, not at them."""

    waiting: int
    failed: int
    oldest: timedelta


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One threshold that a queue is above. `value` and `threshold` are jobs, or seconds for `oldest`."""

    queue: str
    alert: Kind
    value: float
    threshold: float
    detail: str


def thresholds_of(settings: Settings) -> Thresholds:
    return Thresholds(
        waiting=settings.queue_alert_waiting,
        failed=settings.queue_alert_failed,
        oldest=timedelta(seconds=settings.queue_alert_oldest_s),
    )


def alerts_of(queues: Sequence[QueueStats], thresholds: Thresholds) -> list[Alert]:
    """What is above its threshold now. Failed are those between two attempts, ended without success, or dead."""
    found = []
    for queue in queues:
        name, oldest_s = queue.queue, round(queue.oldest.total_seconds(), 3)
        failed = queue.failed + queue.dead
        if queue.waiting > thresholds.waiting:
            found.append(_jobs(name, "waiting", queue.waiting, thresholds.waiting))
        if failed > thresholds.failed:
            found.append(_jobs(name, "failed", failed, thresholds.failed))
        if queue.oldest > thresholds.oldest:
            limit_s = thresholds.oldest.total_seconds()
            detail = f"the oldest job of {name} has waited {oldest_s:g} s, more than {limit_s:g} s"
            found.append(Alert(queue=name, alert="oldest", value=oldest_s, threshold=limit_s, detail=detail))
    return found


def _jobs(queue: str, kind: Kind, count: int, limit: int) -> Alert:
    detail = f"{count} jobs of {queue} are {kind}, more than {limit}"
    return Alert(queue=queue, alert=kind, value=count, threshold=limit, detail=detail)
