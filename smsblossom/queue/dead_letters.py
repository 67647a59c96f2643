"""What the queue hands over of a job it has given up, and to whom."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from smsblossom.queue.codec import JobFailure


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One job given up. `data` is its argument as builtins, ready for `msgspec.convert` to the job's type.

    `raw` is the job as it was stored, for the way back (`Control.requeue`). The same job may die again later:
    (`job_id`, `died_at`) names one death.
    """

    job_id: str
    queue: str
    function: str
    data: Any
    raw: bytes
    failure: JobFailure
    attempts: int
    stalls: int
    first_failed_at: datetime
    died_at: datetime
    shop_id: str | None
    request_id: str | None
    priority: str | None
    group: str | None


class DeadLetters(Protocol):
    """Where dead jobs are kept for good. May raise: the letters stay in Redis and are offered again."""

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these letters durably. The same letter may come twice (same `job_id` and `died_at`)."""
