"""The service's worker: typed jobs, five retries, dead letters, results, on the engine."""

import contextlib
import time
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import arq.worker
import msgspec
import structlog
from arq.connections import ArqRedis
from arq.utils import timestamp_ms

from smsblossom.jobs import QueueName
from smsblossom.queue import codec
from smsblossom.queue.calls import Caller, run_script
from smsblossom.queue.engine import SURVIVABLE, EngineOptions, Worker
from smsblossom.queue.events import Events
from smsblossom.queue.jobinfo import head_start_ms
from smsblossom.queue.outcomes import BrokenJob, JobAborted, JobExpired, JobStalled, JobTimedOut, UnknownFunction
from smsblossom.queue.registry import Registered, Registry
from smsblossom.queue.rules import Again, Drop, Elsewhere, Ending, GiveBack, GiveUp, Stop, StopReason, judge
from smsblossom.queue.run import Run
from smsblossom.queue.topology import QueuePlan, to_ms

PING = "queue:ping"
"""A function every queue's worker knows: it does nothing."""


async def _ping(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
    return "pong"


class _Known(msgspec.Struct, frozen=True):
    entry: Registered
    decode: msgspec.msgpack.Decoder[Any]
    limit_s: float


class TypedConduct:
    """Runs the registered functions of one queue by its plan.

    `stall_limit` deaths of its worker make a job dead; a function this release does not know is given back for
    `unknown_in`, looked at again every `unknown_wait_in`, and then dead. `run.call` is a `_Known`, or None for a ping.
    """

    def __init__(
        self,
        context: object,
        queue: QueueName,
        *,
        registry: Registry,
        plan: QueuePlan,
        events: Events,
        caller: Caller,
        stall_limit: int,
        unknown_in: timedelta,
        unknown_wait_in: timedelta,
    ) -> None:
        self._context = context
        self._queue = queue
        self._plan = plan
        self._events = events
        self._caller = caller
        self._stall_limit = stall_limit
        self._elsewhere = Elsewhere(unknown_wait_in, unknown_in)
        self._keep_ms = to_ms(plan.keep_result_in)
        self._known = {
            entry.function: _Known(entry, msgspec.msgpack.Decoder(entry.payload), limit_s(entry, plan))
            for entry in registry.functions(queue)
        }

    def prepare(self, run: Run, data: bytes | None, abort_mark_ms: int | None) -> None:
        if data is None:
            raise BrokenJob("its data is missing")
        try:
            envelope = run.envelope = codec.decode_job(data)
        except msgspec.DecodeError as exc:
            raise BrokenJob(str(exc)) from exc
        run.function = envelope.f
        run.enqueued_ms = envelope.et
        if run.stalls:
            self._tell("stalled", run)
            if run.stalls > self._stall_limit:
                raise JobStalled(f"its worker died {run.stalls} times")
        if abort_mark_ms is not None and abort_mark_ms >= run.enqueued_ms:
            raise JobAborted
        if envelope.x is not None and envelope.x < run.started_ms:
            raise JobExpired
        if envelope.f != PING:
            self._bind(run, envelope)

    def _bind(self, run: Run, envelope: codec.Envelope) -> None:
        known = self._known.get(envelope.f)
        if known is None:
            raise UnknownFunction(envelope.f)
        run.call = known
        run.report = self._report
        try:
            run.job = known.decode.decode(envelope.a[0])
        except (msgspec.DecodeError, IndexError) as exc:
            raise BrokenJob(str(exc)) from exc

    def invoke(self, run: Run) -> Coroutine[Any, Any, object]:
        if run.call is None:
            return _ping({})
        coroutine: Coroutine[Any, Any, object] = run.call.entry.coroutine(self._context, run.job)
        return coroutine

    def context(self, run: Run) -> dict[Any, Any]:
        return {"job_id": run.job_id, "job_try": run.attempt}

    def time_limit_s(self, run: Run) -> float | None:
        limit: float | None = None if run.call is None else run.call.limit_s
        return limit

    def timeout_error(self, run: Run) -> BaseException:
        return JobTimedOut(f"ran longer than {self.time_limit_s(run)} s")

    def judge(self, run: Run, error: BaseException) -> Ending:
        if isinstance(error, UnknownFunction):
            return self._elsewhere
        return judge(error, run.attempt, run.stop_reason, self._plan.retries)

    def result(self, run: Run, value: object, *, success: bool) -> tuple[bytes | None, int]:
        if self._keep_ms <= 0 or run.envelope is None:
            return None, 0
        envelope = run.envelope
        is_stopped = run.stop_reason == StopReason.ABORTED or isinstance(value, (JobAborted, JobExpired))
        fields = {
            "t": run.attempt, "f": run.function, "a": envelope.a, "k": {}, "et": run.enqueued_ms, "s": success,
            "r": value, "st": run.started_ms, "ft": timestamp_ms(), "q": run.queue, "id": run.job_id, "p": envelope.p,
            "dead": not success and not is_stopped,
        }  # fmt: skip
        try:
            return codec.encode(fields), self._keep_ms
        except (TypeError, ValueError, RecursionError, msgspec.EncodeError):
            fields["r"] = f"a {type(value).__name__}, which cannot be stored"
            return codec.encode(fields), self._keep_ms

    def error(self, error: BaseException) -> bytes:
        return codec.encode(codec.failure_of(error))

    def lock_after_ms(self, run: Run) -> int:  # noqa: ARG002
        return 0

    def parent(self, run: Run) -> str:
        envelope = run.envelope
        return f"{envelope.pq} {envelope.pj}" if envelope is not None and envelope.pj else ""

    async def _report(self, run: Run, fraction: float, note: str) -> None:
        with contextlib.suppress(*SURVIVABLE):
            await run_script(self._caller, "progress", [run.queue], [run.job_id, run.owner, fraction, note])

    # ------------------------------------------------------------------ what the listeners hear

    async def opened(self) -> None:
        """Nothing: Redis may not be there yet, and that is no reason not to start."""

    def started(self, run: Run) -> None:
        head_ms = head_start_ms(run.envelope.p) if run.envelope is not None else 0
        self._tell("started", run, lag=max(0.0, (run.started_ms - run.score - head_ms) / 1000))

    def succeeded(self, run: Run, result: object) -> None:
        self._tell("succeeded", run, took=_took(run), result=result)

    def ended(self, run: Run, error: BaseException, ending: Ending) -> None:
        match ending:
            case Again(wait):
                self._tell("retried", run, took=_took(run), error=error, wait=wait.total_seconds())
            case GiveBack():
                self._tell("released", run, reason="shutdown")
            case Elsewhere():
                self._tell("released", run, reason="unknown function")
            case GiveUp():
                self._tell("died", run, took=_took(run), error=error)
            case Stop():
                self._tell("failed", run, took=_took(run), error=error)
            case Drop():
                pass

    def lost(self, run: Run) -> None:
        self._tell("lost", run)

    def unreachable(self, error: BaseException) -> None:
        self._tell("unreachable", self._queue.value, error=error)

    def recovered(self) -> None:
        self._tell("recovered", self._queue.value)

    def lag(self, oldest: timedelta, waiting: int) -> None:
        self._tell("lag", self._queue.value, oldest=oldest, waiting=waiting)

    def _tell(self, event: str, *args: Any, **facts: Any) -> None:
        try:
            getattr(self._events, event)(*args, **facts)
        except Exception:  # noqa: BLE001 - a listener's error must not end the worker, nor the job
            structlog.get_logger("smsblossom.queue").exception("listener.failed", listener=event)


class TypedWorker(Worker):
    """One queue of the service, worked by its plan."""

    def __init__(
        self,
        queue: QueueName,
        conduct: TypedConduct,
        *,
        registry: Registry,
        plan: QueuePlan,
        redis_pool: ArqRedis,
        poll_in: timedelta,
        options: EngineOptions,
    ) -> None:
        functions = [arq.worker.Function(PING, _ping, None, None, None, None)]
        super().__init__(
            [*functions, *(_as_arq(entry, plan) for entry in registry.functions(queue))],
            queue_name=queue.value,
            redis_pool=redis_pool,
            handle_signals=False,
            max_jobs=plan.concurrency,
            poll_delay=poll_in.total_seconds(),
            allow_abort_jobs=True,
            job_serializer=codec.dumps,
            job_deserializer=codec.loads,
            queue_read_limit=options.page,
            options=options,
            conduct=conduct,
        )
        self.queue = queue
        self.typed = conduct

    async def heart_beat(self) -> None:
        """Nothing of stock arq's: heartbeats come from the lease thread, schedules from rows."""


def limit_s(entry: Registered, plan: QueuePlan) -> float:
    return (entry.time_limit_in or plan.time_limit_in).total_seconds()


def _took(run: Run) -> float:
    return time.monotonic() - run.started_at if run.started_at else 0.0


def _as_arq(entry: Registered, plan: QueuePlan) -> arq.worker.Function:
    return arq.worker.Function(entry.function, entry.coroutine, limit_s(entry, plan), None, None, None)  # type: ignore[arg-type]
