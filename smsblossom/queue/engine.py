"""The engine: an `arq.Worker` that claims and finishes in batches, holds leases, and outlives what goes wrong.

Everything a stock worker offers (functions, ctx, Retry, cron, hooks, burst, job ids, results) works as in arq 0.28;
`typed.py` builds the service's own worker on it.
"""

import asyncio
import inspect
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, cast

import arq.connections
import arq.worker
import msgspec
import uuid_utils
from redis.exceptions import RedisError

from smsblossom.queue import keys
from smsblossom.queue.calls import Caller, run_script
from smsblossom.queue.conduct import Conduct
from smsblossom.queue.connection import blocking_twin
from smsblossom.queue.execution import Execution
from smsblossom.queue.leases import Held, LeaseKeeper
from smsblossom.queue.rules import StopReason
from smsblossom.queue.run import Run
from smsblossom.queue.stock import StockConduct
from smsblossom.queue.topology import QueuePlan, to_ms
from smsblossom.queue.turn import Claimed, Endings, TurnPlan, TurnReply, read_reply, turn_plan

SURVIVABLE = (RedisError, OSError, TimeoutError)


def new_worker_id() -> str:
    """Host and a random part, so that two processes never share it."""
    return f"{socket.gethostname()}.{uuid_utils.uuid4().hex[:12]}"


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine behaves beyond stock arq. The defaults are those of a bare worker, which leaves no keys behind.

    A lease of `lease_in` is renewed every fifth of it. After a restart of Redis, leases that ran out meanwhile are
    respected for `grace_in` more. `turn_limit_in` is how long one call to Redis may take before its connection is
    given up. With a `plan`, its limits hold, and totals and lists of what ended are kept. Turns go over `caller`, if
    given, instead of the pool. `beat` is called in the lease thread at every round, with its connection.
    """

    plan: QueuePlan | None = None
    worker_id: str = field(default_factory=new_worker_id)
    lease_in: timedelta = timedelta(seconds=8)
    grace_in: timedelta = timedelta(seconds=3)
    turn_limit_in: timedelta = timedelta(seconds=20)
    page: int = 128
    scan_budget: int = 4_000
    keeper: LeaseKeeper | None = None
    caller: Caller | None = None
    beat: "Callable[[Worker, Any], None] | None" = None


class Worker(arq.worker.Worker):
    """A drop-in for `arq.Worker`; see EngineOptions for what may be added to it."""

    # arq reads the names of the settings it may pass on from here.
    __signature__ = inspect.signature(arq.worker.Worker)

    def __init__(
        self, *args: Any, options: EngineOptions | None = None, conduct: Conduct | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.options = options or EngineOptions()
        self.conduct: Conduct = conduct or StockConduct(self)
        self.execution = Execution(self, self.conduct, on_end=self._note_end, flush=self.write_endings)
        self.ticked_at = time.monotonic()
        self._turn_plan: TurnPlan = turn_plan(
            self.options.plan, lease_in=self.options.lease_in, budget=self.options.scan_budget
        )
        self._turn_plan.aborts = self.allow_abort_jobs
        self._turns = 0
        self._turning = asyncio.Lock()
        self._wake = asyncio.Event()
        self._due_in_ms = 0
        self._next_beat = 0.0
        self._is_looping = False
        self._is_unreachable = False
        self._has_met_server = self.options.plan is None
        self._flusher: asyncio.Task[None] | None = None
        self._own_keeper: LeaseKeeper | None = None
        self._held: Held | None = None

    # ------------------------------------------------------------------ life

    async def main(self) -> None:
        """Work until cancelled, or in burst mode until nothing is left. No error of Redis or of a job ends it."""
        await self._open()
        if self.on_startup:
            await self.on_startup(self.ctx)
        self._is_looping = True
        try:
            while True:
                busy = await self._turn_and_survive()
                await self._beat_if_due()
                if self.burst and await self._is_burst_over():
                    return
                if not busy:
                    await self._rest()
        finally:
            self._is_looping = False

    async def close(self) -> None:
        """Let what runs come to its end, write down every end, and close the connections."""
        if not self._handle_signals:
            self.handle_sig(signal.SIGUSR1)
        if not self._pool:
            return
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        self.execution.give_back_unbegun()
        await self.write_endings()
        self._stop_helpers()
        await self.pool.delete(self.health_check_key)
        if self.on_shutdown:
            await self.on_shutdown(self.ctx)
        await self.pool.aclose(close_connection_pool=True)
        self._pool = None

    async def give_back(self, limit_s: float) -> None:
        """Cancel what still runs, give it back and write every end, within `limit_s`. Leaves the connections open.

        What cannot be written by then is taken over by others when its lease runs out.
        """
        self.allow_pick_jobs = False
        for run in list(self.execution.running.values()):
            self.execution.cancel(run, StopReason.SHUTDOWN)
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.gather(*self.tasks.values(), return_exceptions=True)
                await self.write_endings()
        except SURVIVABLE as exc:
            self.conduct.unreachable(exc)
        self._stop_helpers()

    async def write_endings(self) -> None:
        """Write what ended and is not written yet. Raises when Redis is not reachable."""
        while self.execution.endings or self._turning.locked():
            await self._turn(may_claim=False)

    def wake(self) -> None:
        """There is something to claim."""
        self._wake.set()

    async def _open(self) -> None:
        if self._pool is None:
            self._pool = await arq.connections.create_pool(
                self.redis_settings,
                job_deserializer=self.job_deserializer,
                job_serializer=self.job_serializer,
                default_queue_name=self.queue_name,
                expires_extra_ms=self.expires_extra_ms,
            )
        self.ctx["redis"] = self.pool
        await self.conduct.opened()
        if self._held is None:
            beat = partial(self.options.beat, self) if self.options.beat is not None else None
            self._held = Held(self.queue_name, self.execution.running, self._lose_soon, beat)
            self._keeper().hold(self._held)

    def _keeper(self) -> LeaseKeeper:
        if self.options.keeper is not None:
            return self.options.keeper
        if self._own_keeper is None:
            lease_s = self.options.lease_in.total_seconds()
            self._own_keeper = LeaseKeeper(lambda: blocking_twin(self.pool), lease_s=lease_s)
        return self._own_keeper

    def _stop_helpers(self) -> None:
        """Whatever still runs here will be taken over by others once its lease has run out."""
        self.execution.deadlines.close()
        if self._held is not None:
            self._keeper().release(self._held)
            self._held = None
        if self._own_keeper is not None:
            self._own_keeper.close()
            self._own_keeper = None

    # ------------------------------------------------------------------ turns

    async def _poll_iteration(self) -> None:
        """Stock arq's step: one turn and the heartbeat; errors of Redis are raised."""
        await self._turn(may_claim=True)
        await self.heart_beat()

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Stock arq's claim. Which jobs are due is for the script to say."""
        await self._turn(may_claim=bool(job_ids))

    async def _turn_and_survive(self) -> bool:
        """One turn, whatever Redis does. Whether there is reason for another at once."""
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
            await asyncio.gather(turn, return_exceptions=True)
            raise
        except SURVIVABLE as exc:
            await self._pause_after(exc)
            return True
        finally:
            watchdog.cancel()
        if self._is_unreachable:
            self._is_unreachable = False
            self.conduct.recovered()
        return again

    async def _pause_after(self, error: BaseException) -> None:
        self._has_met_server = self.options.plan is None
        if not self._is_unreachable:
            self._is_unreachable = True
            self.conduct.unreachable(error)
        await asyncio.sleep(0.1)

    async def _turn(self, *, may_claim: bool) -> bool:
        """Write what ended and claim what may start, in one call. Whether there is reason for another at once."""
        async with self._turning:
            if not self._has_met_server and may_claim:
                await self._meet_server()
            want, general = self._room() if may_claim else (0, 0)
            if not want and not self.execution.endings and not (may_claim and self.allow_abort_jobs):
                return False
            reply = await self._call_cycle(want, general)
            self._take(reply)
        may_be_more = reply.again or (len(reply.jobs) == want and want > 0)
        return bool(self.execution.endings) or (may_be_more and self._room()[0] > 0)

    async def _call_cycle(self, want: int, general: int) -> TurnReply:
        endings, self.execution.endings = self.execution.endings, Endings()
        self._turns += 1
        plan = self._turn_plan
        plan.worker = f"{self.options.worker_id}:{self._turns}"
        plan.want, plan.general = want, general
        arguments = endings.arguments(msgspec.msgpack.encode(plan))
        try:
            caller = self.options.caller or self.pool
            return read_reply(await run_script(caller, "cycle", [self.queue_name], arguments))
        except BaseException:
            endings.merge_before(self.execution.endings)
            self.execution.endings = endings
            raise

    def _room(self) -> tuple[int, int]:
        """Free slots: all of them, and those that jobs of the plain lane may use."""
        if not self.allow_pick_jobs:
            return 0, 0
        want = min(self.max_jobs - len(self.execution.running), self.options.page, self.queue_read_limit)
        if self.burst and self.max_burst_jobs >= 0:
            want = min(want, self.max_burst_jobs - self._jobs_started())
        reserved = self.options.plan.reserved if self.options.plan else 0
        general = min(want, self.max_jobs - reserved - self.execution.plain_running)
        return max(0, want), max(0, general)

    def _take(self, reply: TurnReply) -> None:
        self._due_in_ms = reply.due_ms - reply.now_ms if reply.due_ms else 0
        if reply.jobs:
            owner = f"{self._turn_plan.worker}:{reply.now_ms}"
            claimed_at = time.monotonic()
            for claimed in reply.jobs:
                self._start(claimed, owner, reply, claimed_at)
        if reply.marks:
            self.execution.abort_marked(reply.marks)

    def _start(self, claimed: Claimed, owner: str, reply: TurnReply, claimed_at: float) -> None:
        job_id, score, data, attempts = claimed
        mine = self.execution.running.get(job_id)
        if mine is not None:
            # Our own lease had run out, and nobody else was quicker: the job still runs here, so it keeps running.
            mine.owner = owner
            return
        run = Run(job_id, self.queue_name, owner, int(score), attempts, reply.now_ms, claimed_at)
        if reply.reserved:
            run.is_reserved = job_id in reply.reserved
        if reply.stalls:
            run.stalls = reply.stalls.get(job_id, 0)
        self.execution.start(run, data, reply.marks.get(job_id) if reply.marks else None)

    async def _meet_server(self) -> None:
        """At the start and after an answer got lost: tell which run of the server this is, and give back what it
        thinks is ours and is not: jobs of a claim whose answer never came.
        """
        info = await self.pool.info("server")
        await run_script(self.pool, "meet", [keys.GUARD], [info["run_id"], to_ms(self.options.grace_in)])
        claimed = await cast("Awaitable[dict[bytes, bytes]]", self.pool.hgetall(keys.active(self.queue_name)))
        known = {run.owner for run in self.execution.running.values()} | self.execution.endings.owners()
        for job_id, owner in claimed.items():
            if owner.decode().startswith(f"{self.options.worker_id}:") and owner.decode() not in known:
                self.execution.endings.add_other(job_id.decode(), owner.decode(), "release", text="0")
        self._has_met_server = True

    # ------------------------------------------------------------------ between turns

    async def _rest(self) -> None:
        """Sleep until a job ends, somebody adds one, the next is due, or the poll delay has passed."""
        if self.execution.endings:
            return
        pause = max(self.poll_delay_s, 0.001)
        if self._due_in_ms > 0 and self._room()[0]:
            pause = min(pause, self._due_in_ms / 1000)
        if self.cron_jobs:
            pause = min(pause, 0.5)
        alarm = self.loop.call_later(pause, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            alarm.cancel()

    async def _beat_if_due(self) -> None:
        now = self.loop.time()
        if now < self._next_beat:
            return
        self._next_beat = now + min(self.poll_delay_s, 0.5)
        try:
            await self.heart_beat()
        except SURVIVABLE as exc:
            await self._pause_after(exc)

    async def _is_burst_over(self) -> bool:
        if 0 <= self.max_burst_jobs <= self._jobs_started():
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)
            await self.write_endings()
            return True
        if self.execution.running or self.execution.endings:
            return False
        return bool(await self.pool.zcard(self.queue_name) == 0)

    def _note_end(self) -> None:
        """A job has ended: the loop writes it down, or without a loop a task does."""
        if self._is_looping:
            self._wake.set()
        elif self._flusher is None or self._flusher.done():
            self._flusher = self.loop.create_task(self._flush())

    async def _flush(self) -> None:
        try:
            await self.write_endings()
        except SURVIVABLE as exc:
            self.conduct.unreachable(exc)

    def _lose_soon(self, job_ids: list[str]) -> None:
        """Called in the lease thread."""
        self.loop.call_soon_threadsafe(self._lose, job_ids)

    def _lose(self, job_ids: list[str]) -> None:
        for job_id in job_ids:
            run = self.execution.running.get(job_id)
            if run is not None:
                self.conduct.lost(run)
                self.execution.cancel(run, StopReason.LOST)
