"""One timer for all running jobs, at the soonest deadline: a timer per job would cost more than a short job."""

import asyncio
from collections.abc import Callable, Mapping

from smsblossom.queue.run import Run


class Deadlines:
    """Calls `on_due` in the event loop for each run whose time is up, once."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, running: Mapping[str, Run], on_due: Callable[[Run], None]
    ) -> None:
        self._loop = loop
        self._running = running
        self._on_due = on_due
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = float("inf")

    def start(self, run: Run, limit_s: float) -> None:
        """The run has this long from now."""
        run.deadline = self._loop.time() + limit_s
        if run.deadline < self._alarm_at:
            self.close()
            self._alarm_at = run.deadline
            self._alarm = self._loop.call_at(run.deadline, self._look)

    def close(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._alarm_at = float("inf")

    def _look(self) -> None:
        now, soonest = self._loop.time() + 0.001, float("inf")
        for run in list(self._running.values()):
            if run.deadline is None:
                continue
            if run.deadline <= now:
                run.deadline = None
                self._on_due(run)
            else:
                soonest = min(soonest, run.deadline)
        self._alarm_at = soonest
        self._alarm = None if soonest == float("inf") else self._loop.call_at(soonest, self._look)
