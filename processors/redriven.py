"""A job whose row is the truth needs no attempt of its own while PostgreSQL is away.

The queue gives a job six runs in 31 seconds and then buries it. An outage may last longer, and nothing is wrong with
the job: it ends quietly, its row is still waiting, and the sweeper adds it again when the database is back.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from smsblossom.bootstrap import Runtime
from smsblossom.jobs import Job
from smsblossom.store.engine import StoreUnavailable

J = TypeVar("J", bound=Job)
log = structlog.get_logger()


def by_the_sweeper(work: Callable[[Runtime, J], Awaitable[None]]) -> Callable[[Runtime, J], Awaitable[None]]:
    """Leave the row to the sweeper when the database cannot be reached."""

    @functools.wraps(work)
    async def run(runtime: Runtime, job: J) -> None:
        try:
            await work(runtime, job)
        except StoreUnavailable:
            log.warning("job.left_to_sweeper", function=job.function)

    return run
