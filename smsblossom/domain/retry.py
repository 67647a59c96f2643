"""How long to wait before a job or a call is tried again, and when to give up."""

from datetime import timedelta

RETRIES = 5
BASE_IN = timedelta(seconds=1)
LONGEST_IN = timedelta(minutes=1)
"""Longer waits are rows, not broker delays."""


def delay_after(
    attempt: int,
    *,
    jitter: float,
    retry_after: timedelta | None = None,
    base: timedelta = BASE_IN,
    retries: int = RETRIES,
    longest: timedelta = LONGEST_IN,
) -> timedelta | None:
    """The wait after the failed `attempt` (from 1): 1, 2, 4, 8, 16 s, then None: no further try.

    `jitter` in [0, 1) is the caller's random number; it adds up to a quarter of the wait, so that what failed together
    does not return together. `retry_after`, as the other side asked, may only lengthen the wait, and to `longest` at
    most. Raises `ValueError` for an attempt before the first or a jitter outside its range.
    """
    if attempt < 1:
        raise ValueError("attempt counts from 1")
    if not 0 <= jitter < 1:
        raise ValueError("jitter must be in [0, 1)")
    if attempt > retries:
        return None
    wait = base * (1 << (attempt - 1))
    if retry_after is not None:
        wait = max(wait, min(retry_after, longest))
    return wait * (1 + jitter / 4)
