"""How an attempt ends, decided as a value. Pure: no clock, no Redis."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from arq.worker import Retry, RetryJob

from smsblossom.queue.outcomes import BrokenJob, JobAborted, JobExpired, JobStalled, Permanent, Retryable
from smsblossom.queue.topology import RetryPolicy, next_wait


class StopReason(StrEnum):
    """Why the worker itself cancelled a running job."""

    ABORTED = "aborted"
    TIMED_OUT = "timed_out"
    SHUTDOWN = "shutdown"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Again:
    """Another attempt, `wait` from now. This one counted."""

    wait: timedelta


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Another attempt as soon as a worker has a slot. This one did not count."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Back to the queue for a release that knows the function, looked at every `wait`; given up after `limit`."""

    wait: timedelta
    limit: timedelta


@dataclass(frozen=True, slots=True)
class GiveUp:
    """To the dead letters. `counted` is false when the job was never started."""

    counted: bool = True


@dataclass(frozen=True, slots=True)
class Stop:
    """Over, without a dead letter."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Somebody else's job by now: write nothing."""


Ending = Again | GiveBack | Elsewhere | GiveUp | Stop | Drop

_NEVER_STARTED = (BrokenJob, JobStalled)


def judge(
    error: BaseException,
    attempt: int,
    reason: str | None,
    policy: RetryPolicy,
    *,
    wait: Callable[..., timedelta | None] = next_wait,
) -> Ending:
    """What follows from an attempt that raised. `reason` is why the worker cancelled it, if it did."""
    if isinstance(error, asyncio.CancelledError):
        match reason:
            case StopReason.ABORTED:
                return Stop()
            case StopReason.SHUTDOWN:
                return GiveBack()
            case StopReason.LOST:
                return Drop()
            case _:
                pass
    if isinstance(error, (JobAborted, JobExpired)):
        return Stop()
    if isinstance(error, (Permanent, *_NEVER_STARTED)):
        return GiveUp(counted=isinstance(error, Permanent))
    pause = wait(policy, attempt, after=_asked_for(error))
    return GiveUp() if pause is None else Again(pause)


def _asked_for(error: BaseException) -> timedelta | None:
    match error:
        case Retryable():
            return error.after
        case Retry():
            return None if error.defer_score is None else timedelta(milliseconds=error.defer_score)
        case _:
            return None


def judge_like_arq(error: BaseException, reason: str | None, *, retries: bool) -> Ending:
    """Stock arq's rules: only `Retry`, `RetryJob` and a cancellation run again, all else is final."""
    if reason == StopReason.LOST:
        return Drop()
    if retries and isinstance(error, Retry):
        return Again(timedelta(milliseconds=error.defer_score or 0))
    if reason == StopReason.ABORTED and isinstance(error, asyncio.CancelledError):
        return Stop()
    if retries and isinstance(error, (asyncio.CancelledError, RetryJob)):
        return Again(timedelta(0))
    return Stop()
