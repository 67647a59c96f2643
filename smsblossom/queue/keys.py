"""Where the queue lives in Redis. The first block is stock arq's layout; the second is ours, beside it.

arq's keys are global: an id is one job, whatever its queue. The Lua files spell the same names.
"""

from arq.constants import (
    abort_jobs_ss,
    health_check_key_suffix,
    in_progress_key_prefix,
    job_key_prefix,
    result_key_prefix,
    retry_key_prefix,
)

ABORT = abort_jobs_ss
HEALTH_SUFFIX = health_check_key_suffix
JOB = job_key_prefix
LOCK = in_progress_key_prefix
RESULT = result_key_prefix
RETRY = retry_key_prefix

META = "arq:meta:"
DEAD = "arq:dead:"
GUARD = "smsblossom:queue:guard"
"""Which run of the Redis server the workers last saw, so that a restart is told from a dead worker."""


def active(queue: str) -> str:
    """Hash: job id -> owner (worker, claim number, start in ms) of every running job."""
    return f"{queue}:active"


def later(queue: str) -> str:
    """Sorted set: job id -> due ms of jobs added with a delay or waiting for their next attempt."""
    return f"{queue}:later"


def failed(queue: str) -> str:
    """Sorted set: job id -> ms of the last failure, of jobs that wait for their next attempt."""
    return f"{queue}:failed"


def stopped(queue: str) -> str:
    """Sorted set: job id -> ms, of jobs that ended without success and without a dead letter (aborted, expired)."""
    return f"{queue}:stopped"


def completed(queue: str) -> str:
    """Sorted set: job id -> finished ms, of successful jobs whose result is kept."""
    return f"{queue}:completed"


def dead(queue: str) -> str:
    """Sorted set: job id -> ms of death, of jobs given up and not yet handed to the dead letters."""
    return f"{queue}:dead"


def reserved(queue: str) -> str:
    """Sorted set of due jobs that may use the queue's reserved slots, and of those that run (score: lease end)."""
    return f"{queue}:reserved"


def tags(queue: str) -> str:
    """Hash: job id -> `lane;head start ms;group` of jobs that are not in the plain lane at normal priority."""
    return f"{queue}:tags"


def parked(queue: str) -> str:
    """Sorted set: lane and group -> ms when to look again, of groups with due jobs that may not start now."""
    return f"{queue}:parked"


def limits(queue: str) -> str:
    """Hash: group or group prefix -> `concurrency;count;per ms`, set while running; wins over the topology."""
    return f"{queue}:limits"


def paused(queue: str) -> str:
    return f"{queue}:paused"


def workers(queue: str) -> str:
    """Sorted set: worker id -> ms of its last heartbeat."""
    return f"{queue}:workers"


def totals(queue: str) -> str:
    """Hash of counters since the queue began: completed, retried, dead, stopped, stalled."""
    return f"{queue}:totals"


def wake(queue: str) -> str:
    """Pub/sub channel that wakes idle workers."""
    return f"{queue}:wake"
