"""What a stock arq worker does with a job, spelled for our engine: same results, same log lines, same rules."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import arq.worker
from arq.connections import log_redis_info
from arq.constants import keep_cronjob_progress
from arq.jobs import SerializationError, deserialize_job_raw, serialize_result
from arq.utils import args_to_string, ms_to_datetime, timestamp_ms, truncate
from arq.worker import JobExecutionFailed, Retry, RetryJob, logger

from smsblossom.queue.rules import Again, Ending, Stop, judge_like_arq
from smsblossom.queue.run import Run


class NotStarted(JobExecutionFailed):
    """The job ends before it runs; `error` is what its result says."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class StockConduct:
    """`run.call` is (function, args, kwargs)."""

    def __init__(self, worker: arq.worker.Worker) -> None:
        self._worker = worker

    def prepare(self, run: Run, data: bytes | None, abort_mark_ms: int | None) -> None:
        """Find the job's function and arguments. Raises `NotStarted`."""
        run.call = (None, (), {})
        if data is None:
            logger.warning("job %s expired", run.job_id)
            raise NotStarted(JobExecutionFailed("job expired"))
        try:
            name, args, kwargs, custom_try, run.enqueued_ms = deserialize_job_raw(
                data, deserializer=self._worker.job_deserializer
            )
        except SerializationError as exc:
            logger.exception("deserializing job %s failed", run.job_id)
            raise NotStarted(exc) from exc
        run.function = name
        if abort_mark_ms is not None and abort_mark_ms >= run.enqueued_ms:
            logger.info("%6.2fs ⊘ %s:%s aborted before start", _age(run), run.job_id, name)
            raise NotStarted(asyncio.CancelledError())
        function = self._worker.functions.get(name)
        if function is None:
            logger.warning("job %s, function %r not found", run.job_id, name)
            raise NotStarted(JobExecutionFailed(f"function {name!r} not found"))
        run.call = (function, args, kwargs)
        run.attempt = max(run.attempt, custom_try or 0)
        self._check_tries(run, function)

    def _check_tries(self, run: Run, function: Any) -> None:
        most = self._worker.max_tries if function.max_tries is None else function.max_tries
        if run.attempt > most:
            logger.warning("%6.2fs ! %s max retries %d exceeded", _age(run), _ref(run), most)
            raise NotStarted(JobExecutionFailed(f"max {most} retries exceeded"))

    def invoke(self, run: Run) -> Coroutine[Any, Any, object]:
        function, args, kwargs = run.call
        coroutine: Coroutine[Any, Any, object] = function.coroutine(self.context(run), *args, **kwargs)
        return coroutine

    def context(self, run: Run) -> dict[Any, Any]:
        return {
            **self._worker.ctx,
            "job_id": run.job_id,
            "job_try": run.attempt,
            "enqueue_time": ms_to_datetime(run.enqueued_ms),
            "score": run.score,
        }

    def time_limit_s(self, run: Run) -> float | None:
        timeout: float | None = run.call[0].timeout_s
        return self._worker.job_timeout_s if timeout is None else timeout

    def timeout_error(self, run: Run) -> BaseException:  # noqa: ARG002
        return TimeoutError()

    def judge(self, run: Run, error: BaseException) -> Ending:
        if isinstance(error, NotStarted):
            return Stop()
        return judge_like_arq(error, run.stop_reason, retries=self._worker.retry_jobs)

    def result(self, run: Run, value: object, *, success: bool) -> tuple[bytes | None, int]:
        for_ever, keep_s = self._kept(run)
        if not for_ever and keep_s <= 0:
            return None, 0
        _, args, kwargs = run.call
        data = serialize_result(
            run.function,
            args,
            kwargs,
            run.attempt,
            run.enqueued_ms,
            success,
            value.error if isinstance(value, NotStarted) else value,
            run.started_ms,
            timestamp_ms(),
            _ref(run),
            self._worker.queue_name,
            job_id=run.job_id,
            serializer=self._worker.job_serializer,
        )
        return data, 0 if for_ever else round(keep_s * 1000)

    def _kept(self, run: Run) -> tuple[bool, float]:
        function = run.call[0]
        for_ever, keep_s = self._worker.keep_result_forever, self._worker.keep_result_s or 0
        if function is not None:
            for_ever = for_ever if function.keep_result_forever is None else function.keep_result_forever
            keep_s = keep_s if function.keep_result_s is None else function.keep_result_s
        return for_ever, keep_s

    def error(self, error: BaseException) -> bytes:  # noqa: ARG002
        return b""

    def lock_after_ms(self, run: Run) -> int:
        """A cron job's lock outlives it, against workers whose clocks run behind."""
        return keep_cronjob_progress * 1000 if _is_cron(run) else 0

    def parent(self, run: Run) -> str:  # noqa: ARG002
        return ""

    # ------------------------------------------------------------------ log lines

    async def opened(self) -> None:
        functions = self._worker.functions
        logger.info("Starting worker for %d functions: %s", len(functions), ", ".join(functions))
        await log_redis_info(self._worker.pool, logger.info)

    def started(self, run: Run) -> None:
        run.started_ms = timestamp_ms()
        _, args, kwargs = run.call
        extra = f" try={run.attempt}" if run.attempt > 1 else ""
        if run.started_ms - run.score > 1200:
            extra += f" delayed={(run.started_ms - run.score) / 1000:0.2f}s"
        logger.info("%6.2fs → %s(%s)%s", _age(run), _ref(run), args_to_string(args, kwargs), extra)

    def succeeded(self, run: Run, result: object) -> None:
        text = truncate(repr(result)) if self._worker.log_results and result is not None else ""
        logger.info("%6.2fs ← %s ● %s", _took(run), _ref(run), text)

    def ended(self, run: Run, error: BaseException, ending: Ending) -> None:
        if isinstance(error, NotStarted):
            return
        if isinstance(ending, Again) and isinstance(error, Retry):
            logger.info("%6.2fs ↻ %s retrying job in %0.2fs", _took(run), _ref(run), ending.wait.total_seconds())
        elif isinstance(ending, Again) and isinstance(error, (asyncio.CancelledError, RetryJob)):
            logger.info("%6.2fs ↻ %s cancelled, will be run again", _took(run), _ref(run))
        elif isinstance(error, asyncio.CancelledError):
            logger.info("%6.2fs ⊘ %s aborted", _took(run), _ref(run))
        else:
            extra = getattr(error, "extra", None)
            logger.error(
                "%6.2fs ! %s failed, %s: %s",
                *(_took(run), _ref(run), type(error).__name__, error),
                extra={"extra": extra() if callable(extra) else extra},
                exc_info=error,
            )

    def lost(self, run: Run) -> None:
        logger.error("%s was taken over by another worker", run.job_id)

    def unreachable(self, error: BaseException) -> None:
        logger.warning("redis is not reachable: %s", type(error).__name__)

    def recovered(self) -> None:
        logger.info("redis is reachable again")


def _is_cron(run: Run) -> bool:
    return hasattr(run.call[0], "next_run")


def _ref(run: Run) -> str:
    return run.function if _is_cron(run) else f"{run.job_id}:{run.function}"


def _age(run: Run) -> float:
    return (timestamp_ms() - run.enqueued_ms) / 1000


def _took(run: Run) -> float:
    return (timestamp_ms() - run.started_ms) / 1000
