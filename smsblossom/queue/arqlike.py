"""What a stock arq worker does with a job, spelled for our engine: same results, same log lines, same rules."""

import asyncio
from typing import TYPE_CHECKING, Any

from arq.constants import keep_cronjob_progress, retry_key_prefix
from arq.jobs import SerializationError, deserialize_job_raw, serialize_result
from arq.utils import args_to_string, ms_to_datetime, timestamp_ms, truncate
from arq.worker import JobExecutionFailed, Retry, RetryJob, logger

from smsblossom.queue.outcomes import JobAborted
from smsblossom.queue.rules import Again, Ending, Stop, judge_like_arq
from smsblossom.queue.run import Run

if TYPE_CHECKING:
    from smsblossom.queue.engine import Worker


class NotStarted(JobExecutionFailed):
    """The job ends before it runs; `error` is what its result says."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


def log_start(functions: dict[str, Any]) -> None:
    logger.info("Starting worker for %d functions: %s", len(functions), ", ".join(functions))


async def prepare(worker: "Worker", run: Run, data: bytes | None) -> None:
    """Find the job's function and arguments. Raises `NotStarted`."""
    run.call = (None, (), {})
    if data is None:
        logger.warning("job %s expired", run.job_id)
        raise NotStarted(JobExecutionFailed("job expired"))
    try:
        name, args, kwargs, custom_try, run.enqueued_ms = deserialize_job_raw(
            data, deserializer=worker.job_deserializer
        )
    except SerializationError as exc:
        logger.exception("deserializing job %s failed", run.job_id)
        raise NotStarted(exc) from exc
    run.function = name
    try:
        worker.check_abort_mark(run)
    except JobAborted as exc:
        logger.info("%6.2fs ⊘ %s:%s aborted before start", _age(run), run.job_id, name)
        raise NotStarted(asyncio.CancelledError()) from exc
    function = worker.functions.get(name)
    if function is None:
        logger.warning("job %s, function %r not found", run.job_id, name)
        raise NotStarted(JobExecutionFailed(f"function {name!r} not found"))
    run.call = (function, args, kwargs)
    if custom_try and custom_try > run.attempt:
        run.attempt = custom_try
        await worker.pool.set(retry_key_prefix + run.job_id, custom_try - 1)
    max_tries = worker.max_tries if function.max_tries is None else function.max_tries
    if run.attempt > max_tries:
        logger.warning("%6.2fs ! %s max retries %d exceeded", _age(run), _ref(run), max_tries)
        raise NotStarted(JobExecutionFailed(f"max {max_tries} retries exceeded"))


def context(worker: "Worker", run: Run) -> dict[Any, Any]:
    return {
        **worker.ctx,
        "job_id": run.job_id,
        "job_try": run.attempt,
        "enqueue_time": ms_to_datetime(run.enqueued_ms),
        "score": run.score,
    }


def judge(worker: "Worker", run: Run, error: BaseException) -> Ending:
    if isinstance(error, NotStarted):
        return Stop()
    return judge_like_arq(error, run.stop_reason, retries=worker.retry_jobs)


def result(worker: "Worker", run: Run, value: object, *, success: bool) -> tuple[bytes | None, int]:
    function, args, kwargs = run.call
    for_ever = worker.keep_result_forever
    keep_s = worker.keep_result_s or 0
    if function is not None:
        for_ever = for_ever if function.keep_result_forever is None else function.keep_result_forever
        keep_s = keep_s if function.keep_result_s is None else function.keep_result_s
    if not for_ever and keep_s <= 0:
        return None, 0
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
        worker.queue_name,
        job_id=run.job_id,
        serializer=worker.job_serializer,
    )
    return data, 0 if for_ever else round(keep_s * 1000)


def cron_lock_ms(run: Run) -> int:
    """A cron job's lock outlives it, against workers whose clocks run behind."""
    return keep_cronjob_progress * 1000 if _is_cron(run) else 0


def _is_cron(run: Run) -> bool:
    return run.call is not None and hasattr(run.call[0], "next_run")


def _ref(run: Run) -> str:
    return run.function if _is_cron(run) else f"{run.job_id}:{run.function}"


def _age(run: Run) -> float:
    return (timestamp_ms() - run.enqueued_ms) / 1000


def _took(run: Run) -> float:
    return (timestamp_ms() - run.started_ms) / 1000


def log_started(run: Run) -> None:
    run.started_ms = timestamp_ms()
    _, args, kwargs = run.call
    extra = f" try={run.attempt}" if run.attempt > 1 else ""
    if run.started_ms - run.score > 1200:
        extra += f" delayed={(run.started_ms - run.score) / 1000:0.2f}s"
    logger.info("%6.2fs → %s(%s)%s", _age(run), _ref(run), args_to_string(args, kwargs), extra)


def log_succeeded(run: Run, value: object, *, with_result: bool) -> None:
    text = truncate(repr(value)) if with_result and value is not None else ""
    logger.info("%6.2fs ← %s ● %s", _took(run), _ref(run), text)


def log_ended(run: Run, error: BaseException, ending: Ending) -> None:
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
        facts = {"extra": extra() if callable(extra) else extra}
        logger.error(
            "%6.2fs ! %s failed, %s: %s", _took(run), _ref(run), type(error).__name__, error,
            extra=facts, exc_info=error,
        )  # fmt: skip
