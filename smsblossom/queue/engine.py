"""The engine: an `arq.Worker` that claims and finishes in batches, holds leases, and outlives what goes wrong.

Everything a stock worker offers (functions, ctx, Retry, cron, hooks, burst, job ids, results) works as in arq 0.28;
`typed.py` builds the service's own worker on it.
"""

import asyncio
import inspect
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import arq.worker
import msgspec
import redis
import structlog
import uuid_utils
from redis.exceptions import RedisError

from smsblossom.queue import arqlike, connection, keys
from smsblossom.queue.calls import Caller, run_script
from smsblossom.queue.jobinfo import head_start_ms
from smsblossom.queue.leases import Held, LeaseKeeper
from smsblossom.queue.outcomes import JobAborted, JobTimedOut
from smsblossom.queue.rules import Again, Drop, Ending, GiveBack, GiveUp, Stop, StopReason
from smsblossom.queue.run import Run, enter
from smsblossom.queue.topology import QueuePlan
from smsblossom.queue.turn import Endings, TurnPlan, TurnReply, group_fields, rate_fields, read_reply

SURVIVABLE = (RedisError, OSError, TimeoutError)


def new_worker_id() -> str:
    """Host and a random part, so that two processes never share it."""
    return f"{socket.gethostname()}.{uuid_utils.uuid4().hex[:12]}"


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine behaves beyond stock arq. The defaults are those of a bare worker, which leaves no keys behind.

    A lease of `lease_in` is renewed every fifth of it. After a restart of Redis, leases that ran out meanwhile are
    respected for `grace_in` more. `turn_limit_in` is how long one call to Redis may take before its connection is
    given up. `counts` keeps totals and the lists of completed, failed and stopped jobs. Turns go over `caller`, if
    given, instead of the pool.
    """

    plan: QueuePlan | None = None
    worker_id: str = field(default_factory=new_worker_id)
    lease_in: timedelta = timedelta(seconds=8)
    grace_in: timedelta = timedelta(seconds=3)
    turn_limit_in: timedelta = timedelta(seconds=20)
    page: int = 128
    scan_budget: int = 4_000
    counts: bool = False
    keeper: LeaseKeeper | None = None
    caller: Caller | None = None


class Worker(arq.worker.Worker):
    """A drop-in for `arq.Worker`; see EngineOptions for what may be added to it."""

    # arq reads the names of the settings it may pass on from here.
    __signature__ = inspect.signature(arq.worker.Worker)

    def __init__(self, *args: Any, options: EngineOptions | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.options = options or EngineOptions()
        self.running: dict[str, Run] = {}
        self._general_running = 0
        self._endings = Endings()
        self._claims = 0
        self._server_run = ""
        self._is_clean = True
        self._marks: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._turning = asyncio.Lock()
        self._is_looping = False
        self._is_unreachable = False
        self._flusher: asyncio.Task[None] | None = None
        self._next_beat = 0.0
        self.ticked_at = time.monotonic()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = float("inf")
        self._keeper: LeaseKeeper | None = None
        self.beat: Callable[[Any], None] | None = None
        self._held: Held | None = None
        self._plan = TurnPlan(
            worker=self.options.worker_id,
            want=0,
            general=0,
            lease=_ms(self.options.lease_in),
            budget=self.options.scan_budget,
            head=head_start_ms("normal") if self.options.plan else 0,
            keep=_ms(self.options.plan.keep_result_in) if self.options.plan else 0,
            counts=self.options.counts,
            aborts=self.allow_abort_jobs,
            run="",
            guard=keys.GUARD,
            grace=_ms(self.options.grace_in) if self.options.plan else 0,
            groups=group_fields(self.options.plan.groups) if self.options.plan else {},
            rate=rate_fields(self.options.plan.rate) if self.options.plan else None,
            fleet=self.options.plan.fleet_concurrency if self.options.plan else None,
        )

    # ------------------------------------------------------------------ life

    async def main(self) -> None:
        """Work until cancelled, or in burst mode until nothing is left. No error of Redis or of a job ends it."""
        await self._open()
        if self.on_startup:
            await self.on_startup(self.ctx)
        self._is_looping = True
        try:
            while True:
                busy = await self._turn_once()
                await self._beat_if_due()
                if self.burst and await self._is_burst_over():
                    return
                if not busy:
                    await self._rest()
        finally:
            self._is_looping = False

    async def _open(self) -> None:
        if self._pool is None:
            self._pool = await arq.connections.create_pool(
                self.redis_settings,
                job_deserializer=self.job_deserializer,
                job_serializer=self.job_serializer,
                default_queue_name=self.queue_name,
                expires_extra_ms=self.expires_extra_ms,
            )
        arqlike.log_start(self.functions)
        await arq.connections.log_redis_info(self.pool, arq.worker.logger.info)
        self.ctx["redis"] = self.pool
        self._hold_leases()

    def _hold_leases(self) -> None:
        if self._held is not None:
            return
        self._held = Held(self.queue_name, self.running, self._lost_in_thread, self.beat)
        keeper = self.options.keeper
        if keeper is None:
            keeper = self._keeper = LeaseKeeper(
                lambda: blocking_twin(self.pool), lease_s=self.options.lease_in.total_seconds()
            )
        keeper.hold(self._held)

    async def close(self) -> None:
        """Let what runs come to its end, write down every end, and close the connections."""
        if not self._handle_signals:
            self.handle_sig(signal.SIGUSR1)
        if not self._pool:
            return
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        await self.write_endings()
        self.release_leases()
        if self._alarm is not None:
            self._alarm.cancel()
        await self.pool.delete(self.health_check_key)
        if self.on_shutdown:
            await self.on_shutdown(self.ctx)
        await self.pool.close(close_connection_pool=True)
        self._pool = None

    async def give_back(self, limit_s: float) -> None:
        """Cancel what still runs, give it back and write every end, within `limit_s`. Leaves the connections open.

        What cannot be written by then is taken over by others when its lease runs out.
        """
        self.allow_pick_jobs = False
        for run in list(self.running.values()):
            self._cancel(run, StopReason.SHUTDOWN)
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.gather(*self.tasks.values(), return_exceptions=True)
                await self.write_endings()
        except SURVIVABLE as exc:
            self.tell_unreachable(exc)
        self.release_leases()
        if self._alarm is not None:
            self._alarm.cancel()

    def release_leases(self) -> None:
        """Stop renewing. Whatever still runs here will be taken over once its lease has run out."""
        if self._held is not None:
            (self.options.keeper or self._keeper or _NO_KEEPER).release(self._held)
            self._held = None
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    async def write_endings(self) -> None:
        """Write what ended and is not written yet. Raises when Redis is not reachable."""
        while self._endings or self._turning.locked():
            await self._turn(may_claim=False)

    # ------------------------------------------------------------------ turns

    async def _poll_iteration(self) -> None:
        """Stock arq's step: one turn and the heartbeat; errors of Redis are raised."""
        await self._turn(may_claim=True)
        await self.heart_beat()

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Stock arq's claim. Which jobs are due is for the script to say."""
        await self._turn(may_claim=bool(job_ids))

    async def _turn_once(self) -> bool:
        """One turn that survives whatever Redis does. Whether there is reason for another at once."""
        self._wake.clear()
        self.ticked_at = time.monotonic()
        turn = self.loop.create_task(self._turn(may_claim=True))
        watchdog = self.loop.call_later(self.options.turn_limit_in.total_seconds(), turn.cancel)
        try:
            # Shielded: a cancelled worker must still learn which jobs it has claimed.
            again = await asyncio.shield(turn)
        except asyncio.CancelledError:
            if turn.cancelled():
                await self._pause_after(TimeoutError("Redis did not answer"))
                return True
            await asyncio.wait([turn])
            raise
        except SURVIVABLE as exc:
            await self._pause_after(exc)
            return True
        finally:
            watchdog.cancel()
        if self._is_unreachable:
            self._is_unreachable = False
            self.tell_recovered()
        return again

    async def _pause_after(self, error: BaseException) -> None:
        self._is_clean = False
        self._server_run = ""
        if not self._is_unreachable:
            self._is_unreachable = True
            self.tell_unreachable(error)
        await asyncio.sleep(0.1)

    async def _turn(self, *, may_claim: bool) -> bool:
        async with self._turning:
            if not self._is_clean and may_claim:
                await self._reconcile()
            want, general = self._room() if may_claim else (0, 0)
            if not want and not self._endings and not (may_claim and self.allow_abort_jobs):
                return False
            endings, self._endings = self._endings, Endings()
            self._claims += 1
            self._plan.want, self._plan.general = want, general
            self._plan.worker = f"{self.options.worker_id}:{self._claims}"
            self._plan.run = self._server_run
            try:
                reply = read_reply(
                    await run_script(
                        self.options.caller or self.pool,
                        "cycle",
                        [self.queue_name],
                        endings.arguments(msgspec.msgpack.encode(self._plan)),
                    )
                )
            except BaseException:
                endings.merge_before(self._endings)
                self._endings = endings
                raise
            self._take_reply(reply, f"{self._plan.worker}:{reply.now_ms}")
        # Short of jobs: nothing more to claim. Full: nothing more to claim either, until something ends.
        return bool(self._endings) or reply.again or (len(reply.jobs) == want and want > 0)

    def _room(self) -> tuple[int, int]:
        """Free slots: all of them, and those that jobs of the plain lane may use."""
        if not self.allow_pick_jobs:
            return 0, 0
        want = min(self.max_jobs - len(self.running), self.options.page, self.queue_read_limit)
        if self.burst and self.max_burst_jobs >= 0:
            want = min(want, self.max_burst_jobs - self._jobs_started())
        reserved = self.options.plan.reserved if self.options.plan else 0
        general = min(want, self.max_jobs - reserved - self._general_running)
        return max(0, want), max(0, general)

    def _take_reply(self, reply: TurnReply, owner: str) -> None:
        self._due_ms = reply.due_ms - reply.now_ms if reply.due_ms else 0
        self._marks = dict(reply.marks)
        if reply.jobs:
            claimed_at = time.monotonic()
            for job in reply.jobs:
                self._start(job, owner, reply, claimed_at)
        if self._marks:
            self._abort_marked()

    def _start(self, job: tuple[str, int, bytes | None, int], owner: str, reply: TurnReply, claimed_at: float) -> None:
        job_id, score, data, attempts = job
        mine = self.running.get(job_id)
        if mine is not None:
            # Our own lease had run out, and nobody else was quicker: the job still runs here, so it keeps running.
            mine.owner = owner
            return
        run = Run(job_id, self.queue_name, owner, int(score), attempts, reply.now_ms)
        run.claimed_at = claimed_at
        if reply.reserved and job_id in reply.reserved:
            run.is_reserved = True
        else:
            self._general_running += 1
        if reply.stalls:
            run.stalls = reply.stalls.get(job_id, 0)
        self.running[job_id] = run
        run.task = self.tasks[job_id] = self.job_tasks[job_id] = self.loop.create_task(self._execute(run, data))

    # ------------------------------------------------------------------ one job

    async def _execute(self, run: Run, data: bytes | None) -> None:
        enter(run)
        try:
            await self.prepare(run, data)
            self._arm(run)
            if self.on_job_start:
                await self._hook(self.on_job_start, run)
            self.tell_started(run)
            run.started_at = time.monotonic()
            result = await self.invoke(run)
        except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 - every end of a job is judged
            self._settle_error(run, self._true_error(run, exc))
        else:
            self._settle_success(run, result)
        if self.on_job_end and run.started_at:
            await self._hook(self.on_job_end, run)
        if self.after_job_end and run.started_at:
            run.flushed = self.loop.create_future()
        self._leave(run)
        if run.flushed is not None and self.after_job_end:
            await self.write_endings()
            await self._hook(self.after_job_end, run)

    def _leave(self, run: Run) -> None:
        job_id = run.job_id
        del self.running[job_id]
        del self.job_tasks[job_id]
        del self.tasks[job_id]
        if not run.is_reserved:
            self._general_running -= 1
        if self._is_looping:
            self._wake.set()
        elif self._flusher is None or self._flusher.done():
            self._flusher = self.loop.create_task(self._flush_quietly())

    async def _flush_quietly(self) -> None:
        try:
            await self.write_endings()
        except SURVIVABLE as exc:
            self.tell_unreachable(exc)

    async def _hook(self, hook: Callable[[dict[Any, Any]], Awaitable[Any]], run: Run) -> None:
        try:
            await hook(self.context_of(run))
        except Exception:  # noqa: BLE001 - a hook's error must not end the worker, nor the job
            structlog.get_logger("smsblossom.queue").exception("hook.failed", job_id=run.job_id)

    def _true_error(self, run: Run, error: BaseException) -> BaseException:
        if not isinstance(error, asyncio.CancelledError):
            return error
        match run.stop_reason:
            case StopReason.TIMED_OUT:
                return self.timeout_error(run)
            case _:
                return error

    def _settle_success(self, run: Run, result: object) -> None:
        data, keep_ms = self.result_of(run, result, success=True)
        if data is not None:
            self._endings.add_result(run.job_id, keep_ms, data)
        number, text = self.after_success(run)
        if number or text:
            self._endings.add_other(run.job_id, run.owner, "done", number=number, text=text)
        else:
            self._endings.add_well(run.job_id, run.owner)
        self.jobs_complete += 1
        self.tell_succeeded(run, result)

    def _settle_error(self, run: Run, error: BaseException) -> None:
        ending = self.judge(run, error)
        match ending:
            case Again(wait):
                self.jobs_retried += 1
                self._add(run, "retry", number=_ms(wait), data=self.error_of(error))
            case GiveBack():
                self._add(run, "release", text=str(run.score))
            case GiveUp(counted):
                self.jobs_failed += 1
                self._add(run, "dead", number=int(counted), text=self.after_success(run)[1], data=self.error_of(error))
                self._keep_error(run, error)
            case Stop():
                self.jobs_failed += 1
                self._add(run, "stop", text=self.after_success(run)[1], data=self.error_of(error))
                self._keep_error(run, error)
            case Drop():
                pass
        self.aborting_tasks.discard(run.job_id)
        self.tell_ended(run, error, ending)

    def _keep_error(self, run: Run, error: BaseException) -> None:
        data, keep_ms = self.result_of(run, error, success=False)
        if data is not None:
            self._endings.add_result(run.job_id, keep_ms, data)

    def _add(self, run: Run, verb: str, *, number: int = 0, text: str = "", data: bytes = b"") -> None:
        self._endings.add_other(run.job_id, run.owner, verb, number=number, text=text, data=data)

    # ------------------------------------------------------------------ time limits, aborts, lost leases

    def _arm(self, run: Run) -> None:
        """One timer for all jobs, at the soonest deadline: a timer per job costs more than a short job."""
        limit = self.time_limit_of(run)
        if limit is None:
            return
        run.deadline = self.loop.time() + limit
        if run.deadline < self._alarm_at:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm_at = run.deadline
            self._alarm = self.loop.call_at(run.deadline, self._check_deadlines)

    def _check_deadlines(self) -> None:
        now, soonest = self.loop.time() + 0.001, float("inf")
        for run in self.running.values():
            if run.deadline is None:
                continue
            if run.deadline <= now:
                run.deadline = None
                self._cancel(run, StopReason.TIMED_OUT)
            else:
                soonest = min(soonest, run.deadline)
        self._alarm_at = soonest
        self._alarm = None if soonest == float("inf") else self.loop.call_at(soonest, self._check_deadlines)

    def _cancel(self, run: Run, reason: StopReason) -> None:
        if run.stop_reason is None:
            run.stop_reason = reason
        if run.task is not None:
            run.task.cancel()

    def _abort_marked(self) -> None:
        for job_id, mark_ms in self._marks.items():
            run = self.running.get(job_id)
            # A mark older than the job was meant for an earlier run of the same id.
            if run is not None and run.started_at and mark_ms >= run.enqueued_ms and run.stop_reason is None:
                self.aborting_tasks.add(job_id)
                self._cancel(run, StopReason.ABORTED)

    def check_abort_mark(self, run: Run) -> None:
        """Raises `JobAborted` when the job was told to stop before it started."""
        mark_ms = self._marks.get(run.job_id)
        if mark_ms is not None and mark_ms >= run.enqueued_ms:
            run.stop_reason = StopReason.ABORTED
            raise JobAborted

    def _lost_in_thread(self, job_ids: list[str]) -> None:
        self.loop.call_soon_threadsafe(self._lose, job_ids)

    def _lose(self, job_ids: list[str]) -> None:
        for job_id in job_ids:
            run = self.running.get(job_id)
            if run is not None:
                self.tell_lost(run)
                self._cancel(run, StopReason.LOST)

    async def _reconcile(self) -> None:
        """After an answer got lost: give back what Redis thinks is ours and is not, and learn which server this is."""
        info = await self.pool.info("server")
        mine = f"{self.options.worker_id}:".encode()
        known = {run.owner.encode() for run in self.running.values()}
        claimed = await cast("Awaitable[dict[bytes, bytes]]", self.pool.hgetall(keys.active(self.queue_name)))
        pending = {self._endings.others[i] for i in range(0, len(self._endings.others), 6)}
        pending.update(job_id for ids in self._endings.well.values() for job_id in ids)
        for job_id, owner in claimed.items():
            if owner.startswith(mine) and owner not in known and job_id.decode() not in pending:
                self._endings.add_other(job_id.decode(), owner.decode(), "release", text="0")
        self._server_run = str(info["run_id"])
        self._is_clean = True

    # ------------------------------------------------------------------ rest

    async def _rest(self) -> None:
        """Sleep until a job ends, somebody adds one, the next is due, or the poll delay has passed."""
        if self._endings:
            return
        pause = max(self.poll_delay_s, 0.001)
        if self._due_ms > 0 and self._room()[0]:
            pause = min(pause, self._due_ms / 1000)
        if self.cron_jobs:
            pause = min(pause, 0.5)
        alarm = self.loop.call_later(pause, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            alarm.cancel()

    def wake(self) -> None:
        """There is something to claim."""
        self._wake.set()

    _due_ms = 0

    async def _beat_if_due(self) -> None:
        now = self.loop.time()
        if now < self._next_beat:
            return
        self._next_beat = now + min(max(self.poll_delay_s, 0.0), 0.5)
        try:
            await self.heart_beat()
        except SURVIVABLE as exc:
            await self._pause_after(exc)

    async def _is_burst_over(self) -> bool:
        if 0 <= self.max_burst_jobs <= self._jobs_started():
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)
            await self.write_endings()
            return True
        if self.running or self._endings:
            return False
        return bool(await self.pool.zcard(self.queue_name) == 0)

    # ------------------------------------------------------------------ stock arq's ways, replaced in typed.py

    async def prepare(self, run: Run, data: bytes | None) -> None:
        """Read the job. Raises what it ends with when it cannot start."""
        await arqlike.prepare(self, run, data)

    def invoke(self, run: Run) -> Coroutine[Any, Any, object]:
        function, args, kwargs = run.call
        coroutine: Coroutine[Any, Any, object] = function.coroutine(self.context_of(run), *args, **kwargs)
        return coroutine

    def context_of(self, run: Run) -> dict[Any, Any]:
        """The `ctx` of stock functions and hooks."""
        return arqlike.context(self, run)

    def time_limit_of(self, run: Run) -> float | None:
        timeout: float | None = run.call[0].timeout_s
        return self.job_timeout_s if timeout is None else timeout

    def timeout_error(self, run: Run) -> BaseException:  # noqa: ARG002
        return TimeoutError()

    def judge(self, run: Run, error: BaseException) -> Ending:
        return arqlike.judge(self, run, error)

    def result_of(self, run: Run, value: object, *, success: bool) -> tuple[bytes | None, int]:
        """The bytes to keep and for how many ms (0: for ever), or None to keep nothing."""
        return arqlike.result(self, run, value, success=success)

    def error_of(self, error: BaseException) -> bytes:  # noqa: ARG002
        return b""

    def after_success(self, run: Run) -> tuple[int, str]:
        """How long to keep the lock of a finished cron job in ms, and the parent that waits for this job."""
        return arqlike.cron_lock_ms(run), ""

    def tell_started(self, run: Run) -> None:
        arqlike.log_started(run)

    def tell_succeeded(self, run: Run, result: object) -> None:
        arqlike.log_succeeded(run, result, with_result=self.log_results)

    def tell_ended(self, run: Run, error: BaseException, ending: Ending) -> None:
        arqlike.log_ended(run, error, ending)

    def tell_lost(self, run: Run) -> None:
        arq.worker.logger.error("%s was taken over by another worker", run.job_id)

    def tell_unreachable(self, error: BaseException) -> None:
        arq.worker.logger.warning("redis is not reachable: %s", type(error).__name__)

    def tell_recovered(self) -> None:
        arq.worker.logger.info("redis is reachable again")


_NO_KEEPER = LeaseKeeper(redis.Redis, lease_s=8)


def blocking_twin(pool: Any) -> redis.Redis:
    """A blocking connection to where this asyncio pool leads."""
    options = pool.connection_pool.connection_kwargs
    names = ("host", "port", "db", "username", "password")
    known = {name: options[name] for name in names if options.get(name) is not None}
    if "path" in options:
        known = {name: value for name, value in known.items() if name not in {"host", "port"}}
        known["unix_socket_path"] = options["path"]
    return redis.Redis(**known, socket_timeout=1.0, socket_connect_timeout=1.0)


def _ms(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)


__all__ = ["EngineOptions", "JobTimedOut", "Worker", "connection", "new_worker_id"]
