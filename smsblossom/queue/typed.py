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
from smsblossom.queue.calls import run_script
from smsblossom.queue.engine import SURVIVABLE, EngineOptions, Worker
from smsblossom.queue.events import Events
from smsblossom.queue.jobinfo import head_start_ms
from smsblossom.queue.outcomes import BrokenJob, JobAborted, JobExpired, JobStalled, JobTimedOut, UnknownFunction
from smsblossom.queue.registry import Registered, Registry
from smsblossom.queue.rules import Again, Drop, Ending, GiveBack, GiveUp, Stop, StopReason, judge
from smsblossom.queue.run import Run
from smsblossom.queue.topology import QueuePlan

PING = "queue:ping"
"""A function every queue's worker knows: it does nothing."""


async def _ping(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
    return "pong"


class _Known(msgspec.Struct, frozen=True):
    entry: Registered
    decode: msgspec.msgpack.Decoder[Any]
    limit_s: float


class TypedWorker(Worker):
    """Runs the registered functions of one queue.

    `stall_limit` deaths of its worker make a job dead; a function this release does not know is given back for
    `unknown_in`, looked at again every `unknown_wait_in`, and then dead.
    """

    def __init__(
        self,
        context: object,
        queue: QueueName,
        *,
        registry: Registry,
        plan: QueuePlan,
        redis_pool: ArqRedis,
        options: EngineOptions,
        events: Events,
        stall_limit: int = 10,
        unknown_in: timedelta = timedelta(minutes=15),
        unknown_wait_in: timedelta = timedelta(seconds=5),
    ) -> None:
        entries = registry.functions(queue)
        super().__init__(
            [arq.worker.Function(PING, _ping, None, None, None, None), *(_as_arq(entry, plan) for entry in entries)],
            queue_name=queue.value,
            redis_pool=redis_pool,
            handle_signals=False,
            max_jobs=plan.concurrency,
            allow_abort_jobs=True,
            job_serializer=codec.dumps,
            job_deserializer=codec.loads,
            queue_read_limit=options.page,
            options=options,
        )
        self.context = context
        self.plan = plan
        self.events = events
        self.stall_limit = stall_limit
        self.unknown_in = unknown_in
        self.unknown_wait_in = unknown_wait_in
        self._known = {
            entry.function: _Known(
                entry,
                msgspec.msgpack.Decoder(entry.payload),
                (entry.time_limit_in or plan.time_limit_in).total_seconds(),
            )
            for entry in entries
        }
        self._keep_ms = round(plan.keep_result_in.total_seconds() * 1000)

    async def heart_beat(self) -> None:
        """Nothing of stock arq's: heartbeats come from the lease thread, schedules from rows."""

    async def prepare(self, run: Run, data: bytes | None) -> None:
        self.prepare_now(run, data)

    def prepare_now(self, run: Run, data: bytes | None) -> None:
        """Read the job. Raises what it ends with when it cannot start."""
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
            if run.stalls > self.stall_limit:
                raise JobStalled(f"its worker died {run.stalls} times")
        if self._marks:
            self.check_abort_mark(run)
        if envelope.x is not None and envelope.x < run.started_ms:
            raise JobExpired
        self._bind(run, envelope)

    def _bind(self, run: Run, envelope: codec.Envelope) -> None:
        known = self._known.get(envelope.f)
        if known is None:
            if envelope.f == PING:
                return
            raise UnknownFunction(envelope.f)
        run.call = known
        run.report = self._report
        try:
            run.job = known.decode.decode(envelope.a[0])
        except (msgspec.DecodeError, IndexError) as exc:
            raise BrokenJob(str(exc)) from exc

    def invoke(self, run: Run) -> Coroutine[Any, Any, object]:
        if run.job is None:
            return _ping({})
        coroutine: Coroutine[Any, Any, object] = run.call.entry.coroutine(self.context, run.job)
        return coroutine

    def time_limit_of(self, run: Run) -> float | None:
        limit: float | None = None if run.call is None else run.call.limit_s
        return limit

    def timeout_error(self, run: Run) -> BaseException:
        return JobTimedOut(f"ran longer than {self.time_limit_of(run)} s")

    def judge(self, run: Run, error: BaseException) -> Ending:
        if isinstance(error, JobAborted):
            return Stop()
        return judge(error, run.attempt, run.stop_reason, self.plan.retries)

    async def _report(self, run: Run, fraction: float, note: str) -> None:
        with contextlib.suppress(*SURVIVABLE):
            await run_script(self.pool, "progress", [run.queue], [run.job_id, run.owner, fraction, note])

    def settle_unknown(self, run: Run, error: UnknownFunction) -> None:
        """Give the job back to a release that knows it, until it has been unknown for too long."""
        self._add(
            run,
            "unknown",
            number=round(self.unknown_wait_in.total_seconds() * 1000),
            text=str(round(self.unknown_in.total_seconds() * 1000)),
            data=self.error_of(error),
        )
        self._tell("released", run, reason="unknown function")

    def _settle_error(self, run: Run, error: BaseException) -> None:
        if isinstance(error, UnknownFunction):
            self.settle_unknown(run, error)
            return
        super()._settle_error(run, error)

    def result_of(self, run: Run, value: object, *, success: bool) -> tuple[bytes | None, int]:
        if self._keep_ms <= 0 or run.envelope is None:
            return None, 0
        envelope = run.envelope
        fields = {
            "t": run.attempt, "f": run.function, "a": envelope.a, "k": {}, "et": run.enqueued_ms, "s": success,
            "r": value, "st": run.started_ms, "ft": timestamp_ms(), "q": run.queue, "id": run.job_id, "p": envelope.p,
            "dead": not success and run.stop_reason != StopReason.ABORTED and not isinstance(value, JobExpired),
        }  # fmt: skip
        try:
            return codec.encode(fields), self._keep_ms
        except (TypeError, ValueError, msgspec.EncodeError):
            fields["r"] = f"a {type(value).__name__}, which cannot be stored"
            return codec.encode(fields), self._keep_ms

    def error_of(self, error: BaseException) -> bytes:
        return codec.encode(codec.failure_of(error))

    def after_success(self, run: Run) -> tuple[int, str]:
        envelope = run.envelope
        return 0, f"{envelope.pq} {envelope.pj}" if envelope is not None and envelope.pj else ""

    def lag_of(self, run: Run) -> float:
        """Seconds from the moment the job was due to its claim."""
        head = head_start_ms(run.envelope.p) if run.envelope is not None else 0
        return max(0.0, (run.started_ms - run.score - head) / 1000)

    # ------------------------------------------------------------------ what the listeners hear

    def tell_started(self, run: Run) -> None:
        self._tell("started", run, lag=self.lag_of(run))

    def tell_succeeded(self, run: Run, result: object) -> None:
        self._tell("succeeded", run, took=self.took(run), result=result)

    def tell_ended(self, run: Run, error: BaseException, ending: Ending) -> None:
        took = self.took(run)
        match ending:
            case Again(wait):
                self._tell("retried", run, took=took, error=error, wait=wait.total_seconds())
            case GiveBack():
                self._tell("released", run, reason="shutdown")
            case GiveUp():
                self._tell("died", run, took=took, error=error)
            case Stop():
                self._tell("failed", run, took=took, error=error)
            case Drop():
                pass

    def took(self, run: Run) -> float:
        return _now() - run.started_at if run.started_at else 0.0

    def tell_lost(self, run: Run) -> None:
        self._tell("lost", run)

    def tell_unreachable(self, error: BaseException) -> None:
        self._tell("unreachable", self.queue_name, error=error)

    def tell_recovered(self) -> None:
        self._tell("recovered", self.queue_name)

    def tell_lag(self, oldest: timedelta, waiting: int) -> None:
        self._tell("lag", self.queue_name, oldest=oldest, waiting=waiting)

    def _tell(self, event: str, *args: Any, **facts: Any) -> None:
        try:
            getattr(self.events, event)(*args, **facts)
        except Exception:  # noqa: BLE001 - a listener's error must not end the worker, nor the job
            structlog.get_logger("smsblossom.queue").exception("listener.failed", listener=event)


def _now() -> float:
    return time.monotonic()


def _as_arq(entry: Registered, plan: QueuePlan) -> arq.worker.Function:
    limit = (entry.time_limit_in or plan.time_limit_in).total_seconds()
    return arq.worker.Function(entry.function, entry.coroutine, limit, None, None, None)  # type: ignore[arg-type]
