"""Runs claimed jobs side by side and collects how they ended, for the next turn to write down."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import arq.worker
import structlog

from smsblossom.queue.conduct import Conduct
from smsblossom.queue.deadlines import Deadlines
from smsblossom.queue.rules import Again, Drop, Elsewhere, GiveBack, GiveUp, Stop, StopReason
from smsblossom.queue.run import Run, enter
from smsblossom.queue.topology import to_ms
from smsblossom.queue.turn import Endings

Hook = Callable[[dict[Any, Any]], Awaitable[Any]]


class Execution:
    """The running jobs of one worker. `on_end` is called in the loop after each end; `flush` writes ends at once.

    `worker` is the stock worker whose counters, task lists and hooks these jobs belong to.
    """

    def __init__(
        self,
        worker: arq.worker.Worker,
        conduct: Conduct,
        *,
        on_end: Callable[[], None],
        flush: Callable[[], Awaitable[None]],
    ) -> None:
        self.running: dict[str, Run] = {}
        self.plain_running = 0
        self.endings = Endings()
        self.deadlines = Deadlines(worker.loop, self.running, lambda run: self.cancel(run, StopReason.TIMED_OUT))
        self._worker = worker
        self._conduct = conduct
        self._on_end = on_end
        self._flush = flush

    def start(self, run: Run, data: bytes | None, abort_mark_ms: int | None) -> None:
        """Run this job in a task of its own."""
        worker, job_id = self._worker, run.job_id
        if not run.is_reserved:
            self.plain_running += 1
        self.running[job_id] = run
        task = worker.loop.create_task(self._execute(run, data, abort_mark_ms))
        run.task = worker.tasks[job_id] = worker.job_tasks[job_id] = task

    def cancel(self, run: Run, reason: StopReason) -> None:
        """Cancel a running job; the first reason counts. One whose task has not begun yet stops when it does."""
        if run.stop_reason is None:
            run.stop_reason = reason
        if run.task is not None and run.has_begun:
            run.task.cancel()

    def abort_marked(self, marks: Mapping[str, int]) -> None:
        """Cancel the running jobs somebody told to stop. A mark older than the job was meant for an earlier run."""
        for job_id, mark_ms in marks.items():
            run = self.running.get(job_id)
            if run is not None and run.started_at and mark_ms >= run.enqueued_ms and run.stop_reason is None:
                self._worker.aborting_tasks.add(job_id)
                self.cancel(run, StopReason.ABORTED)

    def give_back_unbegun(self) -> None:
        """Jobs whose tasks were cancelled before their first step, by stock arq's signal handler."""
        for run in list(self.running.values()):
            if run.task is not None and run.task.done():
                self._note(run, "release", text=str(run.score))
                self._leave(run)

    async def _execute(self, run: Run, data: bytes | None, abort_mark_ms: int | None) -> None:
        run.has_begun = True
        enter(run)
        try:
            await self._run(run, data, abort_mark_ms)
            if self._worker.on_job_end and run.started_at:
                await self._call(self._worker.on_job_end, run)
        finally:
            self._leave(run)
        if self._worker.after_job_end and run.started_at:
            await self._flush()
            await self._call(self._worker.after_job_end, run)

    async def _run(self, run: Run, data: bytes | None, abort_mark_ms: int | None) -> None:
        conduct = self._conduct
        try:
            if run.stop_reason is not None:
                raise asyncio.CancelledError  # noqa: TRY301
            conduct.prepare(run, data, abort_mark_ms)
            limit_s = conduct.time_limit_s(run)
            if limit_s is not None:
                self.deadlines.start(run, limit_s)
            if self._worker.on_job_start:
                await self._call(self._worker.on_job_start, run)
            conduct.started(run)
            run.started_at = time.monotonic()
            result = await conduct.invoke(run)
            self._settle_success(run, result)
        except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 - every end of a job is judged
            is_timeout = isinstance(exc, asyncio.CancelledError) and run.stop_reason == StopReason.TIMED_OUT
            self._settle_error(run, conduct.timeout_error(run) if is_timeout else exc)

    def _settle_success(self, run: Run, result: object) -> None:
        data, keep_ms = self._conduct.result(run, result, success=True)
        self._conduct.succeeded(run, result)
        if data is not None:
            self.endings.add_result(run.job_id, keep_ms, data)
        lock_ms, parent = self._conduct.lock_after_ms(run), self._conduct.parent(run)
        if lock_ms or parent:
            self._note(run, "done", number=lock_ms, text=parent)
        else:
            self.endings.add_well(run.job_id, run.owner)
        self._worker.jobs_complete += 1

    def _settle_error(self, run: Run, error: BaseException) -> None:
        ending = self._conduct.judge(run, error)
        match ending:
            case Again(wait):
                self._worker.jobs_retried += 1
                self._note(run, "retry", number=to_ms(wait), text=str(run.attempt), data=self._conduct.error(error))
            case GiveBack():
                self._note(run, "release", text=str(run.score))
            case GiveUp(counted):
                self._end_badly(run, "dead", error, number=run.attempt if counted else run.attempts_before)
            case Stop():
                self._end_badly(run, "stop", error)
            case Drop():
                pass
            case Elsewhere(wait, limit):
                data = self._conduct.error(error)
                self._note(run, "unknown", number=to_ms(wait), text=str(to_ms(limit)), data=data)
        self._worker.aborting_tasks.discard(run.job_id)
        self._conduct.ended(run, error, ending)

    def _end_badly(self, run: Run, verb: str, error: BaseException, *, number: int = 0) -> None:
        self._worker.jobs_failed += 1
        self._note(run, verb, number=number, text=self._conduct.parent(run), data=self._conduct.error(error))
        data, keep_ms = self._conduct.result(run, error, success=False)
        if data is not None:
            self.endings.add_result(run.job_id, keep_ms, data)

    def _note(self, run: Run, verb: str, *, number: int = 0, text: str = "", data: bytes = b"") -> None:
        self.endings.add_other(run.job_id, run.owner, verb, number=number, text=text, data=data)

    def _leave(self, run: Run) -> None:
        job_id = run.job_id
        del self.running[job_id]
        del self._worker.job_tasks[job_id]
        del self._worker.tasks[job_id]
        if not run.is_reserved:
            self.plain_running -= 1
        self._on_end()

    async def _call(self, hook: Hook, run: Run) -> None:
        try:
            await hook(self._conduct.context(run))
        except Exception:  # noqa: BLE001 - a hook's error must not end the worker, nor the job
            structlog.get_logger("smsblossom.queue").exception("hook.failed", job_id=run.job_id)
