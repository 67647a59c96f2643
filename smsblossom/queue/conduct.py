"""What the engine asks about a job. Two answers exist: stock arq's (stock.py) and the service's (typed.py)."""

from collections.abc import Coroutine
from typing import Any, Protocol

from smsblossom.queue.rules import Ending
from smsblossom.queue.run import Run


class Conduct(Protocol):
    """Nothing here may block. What `prepare` raises is judged like what the job raises."""

    def prepare(self, run: Run, data: bytes | None, abort_mark_ms: int | None) -> None:
        """Read the job: find its function and arguments, or raise what it ends with. `data` is None when it is gone,
        `abort_mark_ms` is when somebody told it to stop.
        """

    def invoke(self, run: Run) -> Coroutine[Any, Any, object]:
        """The job itself."""

    def context(self, run: Run) -> dict[Any, Any]:
        """The `ctx` of hooks."""

    def time_limit_s(self, run: Run) -> float | None: ...

    def timeout_error(self, run: Run) -> BaseException: ...

    def judge(self, run: Run, error: BaseException) -> Ending: ...

    def result(self, run: Run, value: object, *, success: bool) -> tuple[bytes | None, int]:
        """The bytes to keep and for how many ms (0: for ever), or None to keep nothing."""

    def error(self, error: BaseException) -> bytes:
        """The failure as it is kept with the job."""

    def lock_after_ms(self, run: Run) -> int:
        """How long a completed job's lock outlives it: stock arq's cron."""

    def parent(self, run: Run) -> str:
        """`queue id` of the job that waits for this one, or nothing."""

    # What the listeners hear.
    async def opened(self) -> None: ...
    def started(self, run: Run) -> None: ...
    def succeeded(self, run: Run, result: object) -> None: ...
    def ended(self, run: Run, error: BaseException, ending: Ending) -> None: ...
    def lost(self, run: Run) -> None: ...
    def unreachable(self, error: BaseException) -> None: ...
    def recovered(self) -> None: ...
