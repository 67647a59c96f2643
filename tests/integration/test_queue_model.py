"""Any sequence of operations against a small model of the queue: no job is lost, none is in two states."""

from collections.abc import Callable

import msgspec
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from smsblossom.queue import codec, keys
from smsblossom.queue.adds import NORMAL_HEAD_MS
from smsblossom.queue.calls import call_script
from smsblossom.queue.codec import JobFailure
from smsblossom.queue.jobinfo import JobState
from smsblossom.queue.turn import Endings, TurnPlan, TurnReply, read_reply
from tests.support.queues import make_job

QUEUE = "events"
IDS = [f"job{i}" for i in range(7)]
GROUPS = ["", "shop:a", "shop:a", "shop:b"]
WORKERS = ["w1", "w2"]
SLOTS_PER_GROUP = 2
HOUR_MS = 3_600_000

job_ids = st.sampled_from(IDS)
workers = st.sampled_from(WORKERS)
places = st.integers(0, 7)
new_jobs = st.tuples(job_ids, st.sampled_from(GROUPS), st.booleans(), st.sampled_from([False, False, False, True]))


class Modelled:
    """What the model knows of a job."""

    def __init__(self, group: str, *, reserved: bool, state: JobState) -> None:
        self.group = group
        self.reserved = reserved
        self.state = state
        self.owner: str | None = None
        self.has_lapsed = False
        self.attempts = 0


class QueueMachine(RuleBasedStateMachine):
    def __init__(self, redis_url: str) -> None:
        super().__init__()
        self.redis = redis.Redis.from_url(redis_url)
        self.redis.flushdb()
        self.jobs: dict[str, Modelled] = {}
        self.held: dict[str, list[tuple[str, str]]] = {worker: [] for worker in WORKERS}
        self.zombies: list[tuple[str, str]] = []
        self.is_paused = False
        self.claims = 0

    def teardown(self) -> None:
        self.redis.close()

    # --- what can happen

    @initialize(wanted=st.lists(new_jobs, min_size=3, max_size=8))
    def begin(self, wanted: list[tuple[str, str, bool, bool]]) -> None:
        for one in wanted:
            self._add(*one)

    @rule(
        choice=st.integers(0, 59),
        one=new_jobs,
        worker=workers,
        place=places,
        want=st.integers(1, 6),
        general=st.sampled_from([6, 6, 6, 2, 0]),
        keep=st.booleans(),
        verb=st.sampled_from(["retry now", "retry later", "dead", "release", "stop"]),
    )
    def step(
        self,
        choice: int,
        one: tuple[str, str, bool, bool],
        worker: str,
        place: int,
        want: int,
        general: int,
        keep: bool,
        verb: str,
    ) -> None:
        """One of the things that can happen now: a rule each would mostly be tried where it says nothing."""
        job_id = one[0]
        possible: list[Callable[[], None]] = [lambda: self._add(*one)]
        if self._has(JobState.WAITING) or any(job.has_lapsed for job in self.jobs.values()):
            possible += [lambda: self.claim(worker, want, general)] * 3
            possible += [self.drain] if choice < 10 else []
        if any(self.held.values()):
            possible += [lambda: self.finish(place, keep), lambda: self.end(place, verb), lambda: self.kill(place)]
        if self.zombies:
            possible += [lambda: self.late_end(place)] * 2
        if self._has(JobState.ACTIVE):
            possible += [self.sweep]
        if self._has(JobState.DELAYED, JobState.FAILED, JobState.DEAD):
            possible += [lambda: self.promote(job_id), lambda: self.retry(job_id)]
        if choice < 20:
            possible += [lambda: self.remove(job_id)]
        possible += [self.resume] if self.is_paused else [self.pause] if choice < 5 else []
        possible[choice % len(possible)]()

    def _add(self, job_id: str, group: str, reserved: bool, delayed: bool) -> None:
        data = codec.encode_job("events:process", make_job(), enqueued_ms=1)
        tag = f"{'r' if reserved else '-'};{NORMAL_HEAD_MS};{group}" if group or reserved else ""
        due = f"+{HOUR_MS}" if delayed else ""
        call_script(self.redis, "add", QUEUE, [NORMAL_HEAD_MS, job_id, data, due, tag, "", "id"])
        known = self.jobs.get(job_id)
        if known is None or known.state in {JobState.COMPLETED, JobState.DEAD}:
            state = JobState.DELAYED if delayed else JobState.WAITING
            self.jobs[job_id] = Modelled(group, reserved=reserved, state=state)

    def claim(self, worker: str, want: int, general: int) -> None:
        reply = self._turn(worker, Endings(), want=want, general=min(want, general))
        owner = f"{worker}:{self.claims}:{reply.now_ms}"
        expected = self._startable(want, min(want, general))
        assert len(reply.jobs) == expected, f"{len(reply.jobs)} claimed, {expected} could start"
        for job_id, _, data, attempts in reply.jobs:
            job = self.jobs[job_id]
            assert data is not None
            assert job.state is JobState.WAITING or (job.state is JobState.ACTIVE and job.has_lapsed)
            assert attempts == job.attempts
            assert (job_id in reply.stalls) == job.has_lapsed
            job.state, job.owner, job.has_lapsed = JobState.ACTIVE, owner, False
            self.held[worker].append((job_id, owner))
        for group in ("shop:a", "shop:b"):
            assert self._running(group) <= SLOTS_PER_GROUP

    def finish(self, place: int, keep: bool) -> None:
        worker, held = self._take(place)
        endings = Endings()
        endings.add_well(*held)
        if keep:
            endings.add_result(held[0], HOUR_MS, _result(held[0]))
        self._write(worker, endings, held, JobState.COMPLETED if keep else None)

    def end(self, place: int, verb: str) -> None:
        worker, held = self._take(place)
        endings, attempts = Endings(), self.jobs[held[0]].attempts + 1 if held[0] in self.jobs else 1
        failure = codec.encode(JobFailure("ValueError", "no"))
        match verb:
            case "retry now":
                endings.add_other(*held, "retry", text=str(attempts), data=failure)
            case "retry later":
                endings.add_other(*held, "retry", number=HOUR_MS, text=str(attempts), data=failure)
            case "release":
                endings.add_other(*held, "release", text="1")
            case "dead":
                endings.add_other(*held, "dead", number=attempts, data=failure)
            case _:
                endings.add_other(*held, "stop", data=failure)
        states = {"retry now": JobState.WAITING, "retry later": JobState.FAILED, "release": JobState.WAITING}
        state = {**states, "dead": JobState.DEAD, "stop": None}[verb]
        self._write(worker, endings, held, state, counts="retry" in verb)

    def kill(self, place: int) -> None:
        """The process dies with what it holds; its leases run out."""
        busy = [worker for worker in WORKERS if self.held[worker]]
        worker = busy[place % len(busy)]
        for job_id, owner in self.held[worker]:
            if self.jobs[job_id].owner == owner:
                self.redis.delete(keys.LOCK + job_id)
                for home in (QUEUE, keys.reserved(QUEUE)):
                    self.redis.zadd(home, {job_id: 1}, xx=True)
                self.jobs[job_id].has_lapsed = True
        self.zombies += self.held[worker]
        self.held[worker] = []

    def late_end(self, place: int) -> None:
        """A process thought dead writes an end after all. It counts only while nobody else has the job."""
        job_id, owner = self.zombies.pop(place % len(self.zombies))
        endings = Endings()
        endings.add_well(job_id, owner)
        self._write("late", endings, (job_id, owner), None)

    def pause(self) -> None:
        self.redis.set(keys.paused(QUEUE), "1")
        self.is_paused = True

    def resume(self) -> None:
        self.redis.delete(keys.paused(QUEUE))
        self.is_paused = False

    def promote(self, job_id: str) -> None:
        if self._act("promote", job_id):
            job = self.jobs[job_id]
            assert job.state in {JobState.DELAYED, JobState.FAILED}
            job.state = JobState.WAITING

    def retry(self, job_id: str) -> None:
        if self._act("retry", job_id):
            job = self.jobs[job_id]
            assert job.state in {JobState.DEAD, JobState.FAILED}
            job.attempts = 0 if job.state is JobState.DEAD else job.attempts
            job.state = JobState.WAITING

    def remove(self, job_id: str) -> None:
        job = self.jobs.get(job_id)
        done = self._act("remove", job_id)
        assert done == (job is None or job.state is not JobState.ACTIVE)
        if done:
            self.jobs.pop(job_id, None)

    def drain(self) -> None:
        gone, _ = call_script(self.redis, "clean", QUEUE, ["waiting", 0, 1000])
        waiting = [job_id for job_id, job in self.jobs.items() if job.state is JobState.WAITING]
        assert gone == len(waiting)
        for job_id in waiting:
            del self.jobs[job_id]

    def sweep(self) -> None:
        assert call_script(self.redis, "sweep", QUEUE, [HOUR_MS, b""]) == 0

    # --- what must always hold

    @invariant()
    def every_job_is_in_its_one_state(self) -> None:
        wanted: dict[JobState, set[str]] = {state: set() for state in JobState}
        for job_id, job in self.jobs.items():
            wanted[job.state].add(job_id)
        for state in JobState:
            ids = [job_id.decode() for job_id in call_script(self.redis, "listing", QUEUE, [state.value, 0, 100])]
            assert len(ids) == len(set(ids)), f"twice in {state}"
            assert set(ids) == wanted[state], state

    @invariant()
    def the_counts_agree(self) -> None:
        row = call_script(self.redis, "stats", QUEUE, [NORMAL_HEAD_MS])
        counts = dict(zip(["waiting", "active", "delayed", "completed", "failed", "dead"], row, strict=False))
        lapsed = sum(job.has_lapsed for job in self.jobs.values())
        for state in JobState:
            wanted = sum(job.state is state for job in self.jobs.values())
            if state is JobState.WAITING and lapsed:
                continue  # a lapsed lease shows as active although it may be claimed
            assert counts[state.value] == wanted, f"{state}: {counts}, {wanted} in the model"

    @invariant()
    def nothing_is_left_of_forgotten_jobs(self) -> None:
        alive = {job_id for job_id, job in self.jobs.items() if job.state not in {JobState.COMPLETED, JobState.DEAD}}
        stored = {key.decode().removeprefix(keys.JOB) for key in self.redis.keys(keys.JOB + "*")}
        assert stored == alive
        tagged = {job_id.decode() for job_id in self.redis.hkeys(keys.tags(QUEUE))}
        assert tagged <= alive

    # --- helpers

    def _turn(self, worker: str, endings: Endings, *, want: int = 0, general: int = 0) -> TurnReply:
        self.claims += 1
        plan = TurnPlan(
            worker=f"{worker}:{self.claims}",
            want=want,
            general=general,
            lease=HOUR_MS,
            budget=1000,
            head=NORMAL_HEAD_MS,
            keep=HOUR_MS,
            counts=True,
            aborts=True,
            groups={"shop": {"slots": SLOTS_PER_GROUP}},
        )
        reply = call_script(self.redis, "cycle", QUEUE, endings.arguments(msgspec.msgpack.encode(plan)))
        return read_reply(reply)

    def _write(
        self, worker: str, endings: Endings, held: tuple[str, str], state: JobState | None, *, counts: bool = False
    ) -> None:
        job_id, owner = held
        reply = self._turn(worker, endings)
        job = self.jobs.get(job_id)
        is_mine = job is not None and job.owner == owner and job.state is JobState.ACTIVE
        assert (job_id.encode() in reply.lost) == (not is_mine)
        if job is None or not is_mine:
            return
        job.owner, job.has_lapsed = None, False
        job.attempts += counts
        if state is None:
            # Stopped without a kept result, or completed without one: `stopped` jobs are listed as failed.
            if endings.others and endings.others[2] == "stop":
                self.redis.zrem(keys.stopped(QUEUE), job_id)
            del self.jobs[job_id]
        else:
            job.state = state

    def _take(self, place: int) -> tuple[str, tuple[str, str]]:
        every = [(worker, held) for worker in WORKERS for held in self.held[worker]]
        worker, held = every[place % len(every)]
        self.held[worker].remove(held)
        return worker, held

    def _has(self, *states: JobState) -> bool:
        return any(job.state in states for job in self.jobs.values())

    def _act(self, verb: str, job_id: str) -> bool:
        _, done = call_script(self.redis, "act", QUEUE, [verb, job_id, NORMAL_HEAD_MS, b"", 0])
        return bool(done)

    def _running(self, group: str) -> int:
        return sum(job.group == group and job.state is JobState.ACTIVE for job in self.jobs.values())

    def _startable(self, want: int, general: int) -> int:
        """How many a claim must find: the most that slots, lanes and groups allow."""
        if self.is_paused:
            return 0
        room = {group: SLOTS_PER_GROUP - self._running(group) for group in ("shop:a", "shop:b")}
        plain = [job for job in self.jobs.values() if job.has_lapsed and not job.reserved]
        reserved = [job for job in self.jobs.values() if job.has_lapsed and job.reserved]
        for job in self.jobs.values():
            if job.state is not JobState.WAITING:
                continue
            if job.group:
                continue
            (reserved if job.reserved else plain).append(job)
        return self._with_groups(want, general, len(plain), len(reserved), room)

    def _with_groups(self, want: int, general: int, plain: int, reserved: int, room: dict[str, int]) -> int:
        lanes = [plain, reserved]
        for group, free in room.items():
            waiting = [job for job in self.jobs.values() if job.state is JobState.WAITING and job.group == group]
            urgent = sum(job.reserved for job in waiting)
            lanes[1] += min(free, urgent)
            lanes[0] += min(max(0, free - urgent), len(waiting) - urgent)
        return min(want, lanes[1] + min(general, lanes[0]))


def _result(job_id: str) -> bytes:
    return codec.encode({
        "t": 1, "f": "events:process", "a": [], "k": {}, "et": 1, "s": True, "r": None, "st": 1, "ft": 1,
        "q": QUEUE, "id": job_id,
    })  # fmt: skip


def test_no_sequence_loses_a_job_or_shows_it_twice(redis_url: str):
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: QueueMachine(redis_url),
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
