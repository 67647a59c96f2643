"""The queue engine on a real Redis: what a job can expect, one behaviour per test."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import arq.worker
import msgspec
import pytest
from arq.connections import RedisSettings
from arq.connections import create_pool as arq_pool

from smsblossom import jobs
from smsblossom.jobs import Priority, QueueName
from smsblossom.queue import codec
from smsblossom.queue.client import Add, QueueClient, open_client
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.queue.control import Control
from smsblossom.queue.jobinfo import JobInfo, JobState
from smsblossom.queue.outcomes import Permanent, Retryable
from smsblossom.queue.progress import report_progress
from smsblossom.queue.registry import AlreadyRegistered, Registry
from smsblossom.queue.run import current_run
from smsblossom.queue.topology import GroupLimit, Rate, RetryPolicy
from tests.support.queues import EVENTS, Ears, Graveyard, make_job, topology, until, working

QUICK = RetryPolicy(waits=(timedelta(milliseconds=20),) * 5, jitter=0)


@pytest.fixture
async def client(redis_url: str):
    async with open_client(redis_url) as opened:
        yield opened


@pytest.fixture
def control(client: QueueClient) -> Control:
    return Control(client.redis)


class Ran(list[str]):
    """The topics of the jobs that ran, in order."""


def recording(ran: Ran, *, sleep: float = 0) -> Registry:
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, job: jobs.ProcessEvent) -> None:
        ran.append(job.topic)
        await asyncio.sleep(sleep)

    return registry


async def state(client: QueueClient, job_id: str) -> JobState | None:
    info = await client.get_job(EVENTS, job_id)
    return None if info is None else info.state


def in_state(client: QueueClient, job_id: str, wanted: JobState) -> Any:
    async def check() -> bool:
        return await state(client, job_id) is wanted

    return check


async def info_of(client: QueueClient, job_id: str) -> JobInfo:
    info = await client.get_job(EVENTS, job_id)
    assert info is not None
    return info


# --- adding and running


async def test_a_job_runs_with_the_context_and_its_result_is_kept(client: QueueClient, redis_url: str):
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(context: str, job: jobs.ProcessEvent) -> dict[str, str]:
        return {"context": context, "topic": job.topic}

    job_id = await client.add(make_job("a"))
    async with working(redis_url, registry, context="runtime"):
        await until(in_state(client, job_id, JobState.COMPLETED))
    info = await info_of(client, job_id)
    assert info.result == {"context": "runtime", "topic": "a"}
    assert (info.attempts, info.function, info.priority) == (1, "events:process", Priority.NORMAL)
    assert info.enqueued_at <= info.started_at <= info.finished_at


async def test_an_id_that_waits_is_not_added_twice_and_one_that_ended_runs_again(client: QueueClient, redis_url: str):
    ran = Ran()
    assert await client.add(make_job("first"), job_id="event:1") == "event:1"
    assert await client.add(make_job("second"), job_id="event:1") == "event:1"
    async with working(redis_url, recording(ran)):
        await until(in_state(client, "event:1", JobState.COMPLETED))
        assert ran == ["first"]
        await client.add(make_job("third"), job_id="event:1")
        await until(lambda: len(ran) == 2)
    assert ran == ["first", "third"]


async def test_an_id_that_runs_is_not_added_again(client: QueueClient, redis_url: str):
    ran = Ran()
    async with working(redis_url, recording(ran, sleep=0.3)):
        await client.add(make_job("first"), job_id="event:1")
        await until(lambda: ran == ["first"])
        await client.add(make_job("second"), job_id="event:1")
        await until(in_state(client, "event:1", JobState.COMPLETED))
        await asyncio.sleep(0.1)
    assert ran == ["first"]


async def test_a_dedupe_key_with_a_window_returns_the_holder(client: QueueClient):
    window = timedelta(seconds=30)
    first = await client.add(make_job(), dedupe_key="k", dedupe_in=window)
    assert await client.add(make_job(), dedupe_key="k", dedupe_in=window) == first
    assert await client.add(make_job(), dedupe_key="other", dedupe_in=window) != first
    assert await client.add(make_job(), dedupe_key="k") == "events:process:k"


async def test_many_jobs_of_several_queues_are_added_in_order(client: QueueClient, control: Control):
    adds = [Add(job=make_job(), job_id=f"e{i}") for i in range(50)]
    sweep = jobs.RunHousekeeping(type="sweep", request_id="r", created_at=datetime.now(UTC))
    ids = await client.add_many([*adds, Add(job=sweep, job_id="h")])
    assert ids == [*(f"e{i}" for i in range(50)), "h"]
    assert (await control.stats(EVENTS)).waiting == 50
    assert (await control.stats(QueueName.HOUSEKEEPING)).waiting == 1


async def test_calls_that_come_together_share_a_round_trip(client: QueueClient):
    await client.add(make_job())
    before = (await client.redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    await asyncio.gather(*(client.add(make_job()) for _ in range(50)))
    after = (await client.redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert after - before <= 2


async def test_a_delayed_job_starts_when_it_is_due_and_not_before(client: QueueClient, redis_url: str):
    starts: list[float] = []
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> None:
        starts.append(time.time())  # noqa: TID251  compared with the server's clock

    async with working(redis_url, registry):
        added = time.time()  # noqa: TID251
        by_delay = await client.add(make_job(), delay_in=timedelta(milliseconds=300))
        by_time = await client.add(make_job(), run_at=datetime.fromtimestamp(added + 0.3, UTC))
        assert {await state(client, by_delay), await state(client, by_time)} == {JobState.DELAYED}
        await until(lambda: len(starts) == 2)
    assert all(start >= added + 0.298 for start in starts)


async def test_urgent_jobs_go_first_and_delayed_ones_keep_their_priority(client: QueueClient, redis_url: str):
    ran = Ran()
    for priority in (Priority.BACKGROUND, Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.CRITICAL):
        await client.add(make_job(priority.value), priority=priority)
        await client.add(make_job(f"late {priority.value}"), priority=priority, delay_in=timedelta(milliseconds=50))
    await asyncio.sleep(0.1)
    async with working(redis_url, recording(ran), topology=topology(concurrency=1)):
        await until(lambda: len(ran) == 10)
    order = ["critical", "high", "normal", "low", "background"]
    assert ran == [name for level in order for name in (level, f"late {level}")]


async def test_background_jobs_age(client: QueueClient, redis_url: str):
    ran = Ran()
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    await client.add(make_job("critical"), priority=Priority.CRITICAL)
    await client.add(make_job("aged"), priority=Priority.BACKGROUND, run_at=long_ago)
    async with working(redis_url, recording(ran), topology=topology(concurrency=1)):
        await until(lambda: len(ran) == 2)
    assert ran == ["aged", "critical"]


async def test_a_job_not_started_in_time_never_runs(client: QueueClient, redis_url: str):
    ran, ears = Ran(), Ears()
    job_id = await client.add(make_job(), expires_in=timedelta(milliseconds=30))
    await asyncio.sleep(0.1)
    async with working(redis_url, recording(ran), events=ears):
        await until(in_state(client, job_id, JobState.FAILED))
    assert ran == []
    assert (await info_of(client, job_id)).error.type == "JobExpired"
    assert ears.names(job_id) == ["failed"]


async def test_a_job_above_100_kb_is_refused(client: QueueClient, control: Control):
    with pytest.raises(codec.JobTooLarge, match="102"):
        await client.add(make_job("x" * 102_400))
    assert (await control.stats(EVENTS)).waiting == 0


async def test_a_job_of_the_previous_release_still_runs(client: QueueClient, redis_url: str):
    """Fields that came since have defaults; fields that went are ignored."""
    ran = Ran()
    old = msgspec.to_builtins(make_job("old"))
    del old["object_id"]
    del old["dedupe_key"]
    old["gone_since"] = {"any": "thing"}
    raw = codec.encode_job("events:process", old, enqueued_ms=1)
    await client.redis.set("arq:job:old", raw)
    await client.redis.zadd("events", {"old": 1})
    async with working(redis_url, recording(ran)):
        await until(lambda: ran == ["old"])


async def test_a_name_can_be_registered_once():
    registry = recording(Ran())
    with pytest.raises(AlreadyRegistered, match="events:process"):

        @registry.processor(jobs.ProcessEvent)
        async def again(_context: object, _job: jobs.ProcessEvent) -> None: ...


async def test_a_job_can_be_addressed_by_topic(client: QueueClient, redis_url: str):
    ran = Ran()
    registry = Registry()

    @registry.processor(jobs.HandleEvent, function="event:orders.create")
    async def handle(_context: object, job: jobs.HandleEvent) -> None:
        ran.append(job.topic)

    job = make_job("orders/create")
    await client.add(msgspec.convert(msgspec.to_builtins(job), jobs.HandleEvent))
    async with working(redis_url, registry):
        await until(lambda: ran == ["orders/create"])


async def test_a_missing_redis_is_an_error_within_a_second(tmp_path: Any):
    async with open_client(f"unix://{tmp_path}/none.sock") as absent:
        async with asyncio.timeout(3):
            with pytest.raises(QueueUnavailable):
                await absent.add(make_job())
            with pytest.raises(QueueUnavailable):
                await absent.get_job(EVENTS, "x")
            with pytest.raises(QueueUnavailable):
                await Control(absent.redis).stats(EVENTS)


# --- how attempts end


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ValueError("plain"), id="plain exception"),
        pytest.param(Retryable("busy"), id="retryable"),
        pytest.param(Retryable("busy", after=timedelta(milliseconds=5)), id="retryable with a wait of its own"),
        pytest.param(arq.worker.Retry(defer=0.005), id="arq's own"),
        pytest.param(asyncio.CancelledError(), id="cancelled by itself"),
    ],
)
async def test_failures_are_tried_six_times_and_then_dead(client: QueueClient, redis_url: str, error: BaseException):
    attempts: list[int] = []
    registry, graveyard, ears = Registry(), Graveyard(), Ears()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> None:
        run = current_run()
        assert run is not None
        attempts.append(run.attempt)
        raise error

    job_id = await client.add(make_job(request_id="req-1"))
    plan = topology(retries=QUICK)
    async with working(redis_url, registry, topology=plan, dead_letters=graveyard, events=ears):
        await until(lambda: len(graveyard.letters) == 1)
        await until(lambda: True)
    assert attempts == [1, 2, 3, 4, 5, 6]
    letter = graveyard.letters[0]
    assert (letter.job_id, letter.attempts, letter.failure.type) == (job_id, 6, type(error).__name__)
    assert (letter.function, letter.request_id) == ("events:process", "req-1")
    assert letter.first_failed_at < letter.died_at
    assert ears.names(job_id) == [*["started", "retried"] * 5, "started", "died"]


async def test_permanent_is_dead_at_once(client: QueueClient, redis_url: str):
    registry, graveyard = Registry(), Graveyard()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> None:
        raise Permanent("gone")

    await client.add(make_job())
    async with working(redis_url, registry, dead_letters=graveyard):
        await until(lambda: len(graveyard.letters) == 1)
    assert graveyard.letters[0].attempts == 1
    assert "gone" in graveyard.letters[0].failure.trace


async def test_a_job_over_its_time_limit_is_cancelled_and_tried_again(client: QueueClient, redis_url: str):
    registry, graveyard = Registry(), Graveyard()
    cancelled: list[bool] = []

    @registry.processor(jobs.ProcessEvent, time_limit_in=timedelta(milliseconds=50))
    async def process(_context: object, _job: jobs.ProcessEvent) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    await client.add(make_job())
    plan = topology(retries=RetryPolicy(waits=(timedelta(0),), jitter=0))
    async with working(redis_url, registry, topology=plan, dead_letters=graveyard):
        await until(lambda: len(graveyard.letters) == 1)
    assert cancelled == [True, True]
    assert graveyard.letters[0].failure.type == "JobTimedOut"


async def test_a_failed_attempt_shows_in_the_job_until_the_next(client: QueueClient, redis_url: str, control: Control):
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> None:
        raise ValueError("no")

    job_id = await client.add(make_job())
    async with working(redis_url, registry, topology=topology(retries=RetryPolicy(waits=(timedelta(minutes=5),)))):
        await until(in_state(client, job_id, JobState.FAILED))
        info = await info_of(client, job_id)
        assert (info.attempts, info.error.type, info.error.message) == (1, "ValueError", "no")
        assert info.run_at > datetime.now(UTC) + timedelta(minutes=3)
        stats = await control.stats(EVENTS)
        assert (stats.failed, stats.delayed, stats.waiting) == (1, 0, 0)
        await control.promote(EVENTS, job_id)
        await until(in_state(client, job_id, JobState.DEAD))


async def test_dead_letters_wait_in_redis_while_their_keeper_fails(
    client: QueueClient, redis_url: str, control: Control
):
    registry, graveyard = Registry(), Graveyard(is_closed=True)

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> None:
        raise Permanent("gone")

    job_id = await client.add(make_job())
    async with working(redis_url, registry, dead_letters=graveyard):
        await until(in_state(client, job_id, JobState.DEAD))
        assert (await control.stats(EVENTS)).dead == 1
        graveyard.is_closed = False
        await until(lambda: len(graveyard.letters) == 1)
        await until(lambda: _none_dead(control))
    assert (await info_of(client, job_id)).state is JobState.DEAD


async def _none_dead(control: Control) -> bool:
    return (await control.stats(EVENTS)).dead == 0


async def test_a_letter_leads_back_to_the_queue(client: QueueClient, redis_url: str, control: Control):
    registry, graveyard, runs = Registry(), Graveyard(), []

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, job: jobs.ProcessEvent) -> None:
        runs.append(job.event_id)
        if len(runs) == 1:
            raise Permanent("once")

    job_id = await client.add(make_job(), group="shop:1", priority=Priority.LOW)
    async with working(redis_url, registry, dead_letters=graveyard):
        await until(lambda: len(graveyard.letters) == 1)
        assert (graveyard.letters[0].group, graveyard.letters[0].priority) == ("shop:1", "low")
        assert await control.requeue(graveyard.letters[0])
        await until(in_state(client, job_id, JobState.COMPLETED))
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\xff\xffnot msgpack", id="not msgpack"),
        pytest.param(codec.encode({"f": "events:process", "a": [{"topic": 5}], "k": {}, "et": 1}), id="wrong shape"),
        pytest.param(codec.encode({"f": "events:process", "a": [], "k": {}, "et": 1}), id="no argument"),
        pytest.param(codec.encode([1, 2]), id="not a map"),
        pytest.param(None, id="data gone"),
    ],
)
async def test_a_broken_job_is_dead_and_harms_no_neighbour(client: QueueClient, redis_url: str, raw: bytes | None):
    ran, graveyard = Ran(), Graveyard()
    if raw is not None:
        await client.redis.set("arq:job:broken", raw)
    await client.redis.zadd("events", {"broken": 1})
    await client.add(make_job("neighbour"))
    async with working(redis_url, recording(ran), dead_letters=graveyard):
        await until(lambda: len(graveyard.letters) == 1 and ran == ["neighbour"])
    assert graveyard.letters[0].failure.type == "BrokenJob"


async def test_a_result_that_cannot_be_stored_does_not_fail_the_job(client: QueueClient, redis_url: str):
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> object:
        return object()

    job_id = await client.add(make_job())
    async with working(redis_url, registry):
        await until(in_state(client, job_id, JobState.COMPLETED))
    assert "cannot be stored" in (await info_of(client, job_id)).result


async def test_progress_is_seen_while_the_job_runs(client: QueueClient, redis_url: str):
    registry, go = Registry(), asyncio.Event()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> None:
        await report_progress(0.25, "a quarter")
        await go.wait()

    job_id = await client.add(make_job())

    async def a_quarter() -> bool:
        return (await info_of(client, job_id)).progress == 0.25

    async with working(redis_url, registry) as group:
        await until(a_quarter)
        info = await info_of(client, job_id)
        assert (info.state, info.note, info.worker) == (JobState.ACTIVE, "a quarter", group.worker_id)
        go.set()
        await until(in_state(client, job_id, JobState.COMPLETED))
    await report_progress(0.5)  # outside a job: nothing happens


# --- limits


async def test_a_queue_never_runs_more_than_its_slots(client: QueueClient, redis_url: str):
    now, most = 0, 0
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1

    await client.add_many([Add(job=make_job()) for _ in range(60)])
    async with (
        working(redis_url, registry, topology=topology(concurrency=4, fleet_concurrency=5)),
        working(redis_url, registry, topology=topology(concurrency=4, fleet_concurrency=5)),
    ):
        await until(lambda: _is_empty(client))
    assert most == 5


async def _is_empty(client: QueueClient) -> bool:
    stats = await Control(client.redis).stats(EVENTS)
    return stats.waiting + stats.active + stats.delayed + stats.failed == 0


async def test_reserved_slots_serve_urgent_jobs_while_all_others_hang(client: QueueClient, redis_url: str):
    started: list[str] = []
    hang = asyncio.Event()
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, job: jobs.ProcessEvent) -> None:
        started.append(job.topic)
        if job.topic == "bulk":
            await hang.wait()

    plan = topology(concurrency=6, reserved=2)
    async with open_client(redis_url, topology=plan) as reserving:
        await reserving.add_many([Add(job=make_job("bulk"), priority=Priority.LOW) for _ in range(20)])
        async with working(redis_url, registry, topology=plan):
            await until(lambda: started.count("bulk") == 4)
            await reserving.add_many([Add(job=make_job("text"), priority=Priority.HIGH) for _ in range(10)])
            await until(lambda: started.count("text") == 10)
            assert started.count("bulk") == 4
            hang.set()
            await until(lambda: started.count("bulk") == 20)


async def test_a_group_never_runs_more_than_its_limit_and_lets_others_pass(client: QueueClient, redis_url: str):
    now: dict[str, int] = {}
    most: dict[str, int] = {}
    done: list[str] = []
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, job: jobs.ProcessEvent) -> None:
        now[job.topic] = now.get(job.topic, 0) + 1
        most[job.topic] = max(most.get(job.topic, 0), now[job.topic])
        await asyncio.sleep(0.01)
        now[job.topic] -= 1
        done.append(job.topic)

    plan = topology(concurrency=10, groups={"shop": GroupLimit(concurrency=2)})
    await client.add_many([Add(job=make_job("big"), group="shop:big") for _ in range(300)])
    await client.add_many([Add(job=make_job("small"), group="shop:small") for _ in range(10)])
    await client.add_many([Add(job=make_job("none")) for _ in range(10)])
    async with working(redis_url, registry, topology=plan):
        await until(lambda: len(done) == 320)
    assert most["big"] == most["small"] == 2
    assert max(done.index("small"), done.index("none")) < 30


async def test_a_group_at_its_limit_is_not_scanned_again(client: QueueClient, redis_url: str):
    """Its jobs are moved aside once; after that a turn costs no more than it would without them."""
    ran = Ran()
    plan = topology(concurrency=10, groups={"shop": GroupLimit(concurrency=1)})
    release = asyncio.Event()
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, job: jobs.ProcessEvent) -> None:
        ran.append(job.topic)
        if job.topic == "big":
            await release.wait()

    for _ in range(10):
        await client.add_many([Add(job=make_job("big"), group="shop:big") for _ in range(1000)])
    async with working(redis_url, registry, topology=plan):
        await until(lambda: _parked(client, "shop:big", 9_999))
        await client.add_many([Add(job=make_job("big"), group="shop:big") for _ in range(100)])
        assert await client.redis.zcard("events:parked:-shop:big") == 10_099
        await client.redis.config_resetstat()
        await client.add(make_job("other"))
        await until(lambda: ran.count("other") == 1)
        commands = await client.redis.info("commandstats")
        assert commands["cmdstat_zadd"]["calls"] < 50
        release.set()
        await Control(client.redis).set_limit(EVENTS, "shop:big", GroupLimit(concurrency=50))
        await until(lambda: len(ran) == 10_101, within=60)


async def _parked(client: QueueClient, group: str, wanted: int) -> bool:
    return bool(await client.redis.zcard(f"events:parked:-{group}") == wanted)


@pytest.mark.parametrize(
    ("plan", "group"),
    [
        pytest.param({"rate": Rate(5, timedelta(milliseconds=500))}, None, id="queue"),
        pytest.param(
            {"groups": {"sender": GroupLimit(rate=Rate(5, timedelta(milliseconds=500)))}}, "sender:1", id="group"
        ),
    ],
)
async def test_rates_hold_and_burn_no_attempts(client: QueueClient, redis_url: str, plan: Any, group: str | None):
    starts: list[tuple[float, int]] = []
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> None:
        run = current_run()
        assert run is not None
        starts.append((run.started_ms / 1000, run.attempt))

    await client.add_many([Add(job=make_job(), group=group) for _ in range(15)])
    async with working(redis_url, registry, topology=topology(**plan)):
        await until(lambda: len(starts) == 15)
    moments = sorted(moment for moment, _ in starts)
    assert {attempt for _, attempt in starts} == {1}
    for first in range(len(moments)):
        window = [m for m in moments if moments[first] <= m < moments[first] + 0.5]
        assert len(window) <= 10, "a bucket of 5 that refills 5 per window allows at most 10 in any window"
    assert moments[-1] - moments[0] >= 0.9


async def test_a_limit_can_be_set_while_running(client: QueueClient, redis_url: str, control: Control):
    most, now = 0, 0
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1

    await control.set_limit(EVENTS, "shop:1", GroupLimit(concurrency=1))
    await client.add_many([Add(job=make_job(), group="shop:1") for _ in range(10)])
    async with working(redis_url, registry):
        await until(lambda: _is_empty(client))
    assert most == 1


# --- parents and children


async def test_a_parent_starts_when_its_children_are_done(client: QueueClient, redis_url: str):
    ran = Ran()
    parent = await client.add_flow(
        Add(job=make_job("parent")), [Add(job=make_job("child"), priority=Priority.LOW) for _ in range(3)]
    )
    assert await state(client, parent) is JobState.DELAYED
    async with working(redis_url, recording(ran)):
        await until(in_state(client, parent, JobState.COMPLETED))
    assert ran == ["child", "child", "child", "parent"]


async def test_a_child_that_dies_takes_its_parent_along(client: QueueClient, redis_url: str):
    ran, graveyard, registry = Ran(), Graveyard(), Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, job: jobs.ProcessEvent) -> None:
        ran.append(job.topic)
        if job.topic == "bad":
            raise Permanent("bad")

    parent = await client.add_flow(Add(job=make_job("parent")), [Add(job=make_job("good")), Add(job=make_job("bad"))])
    async with working(redis_url, registry, dead_letters=graveyard):
        await until(lambda: len(graveyard.letters) == 2)
    assert "parent" not in ran
    assert parent in {letter.job_id for letter in graveyard.letters}


# --- stock arq


async def test_a_stock_client_can_enqueue(client: QueueClient, redis_url: str):
    ran = Ran()
    pool = await arq_pool(RedisSettings.from_dsn(redis_url), job_serializer=codec.dumps, job_deserializer=codec.loads)
    fields = msgspec.to_builtins(make_job("from stock"))
    job = await pool.enqueue_job("events:process", fields, _queue_name="events")
    assert job is not None
    async with working(redis_url, recording(ran)):
        assert await job.result(timeout=10, poll_delay=0.02) is None
    assert ran == ["from stock"]
    await pool.aclose()


async def test_a_stock_client_reads_failures(client: QueueClient, redis_url: str):
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> None:
        raise Permanent("not today")

    pool = await arq_pool(RedisSettings.from_dsn(redis_url), job_serializer=codec.dumps, job_deserializer=codec.loads)
    job = await pool.enqueue_job("events:process", msgspec.to_builtins(make_job()), _queue_name="events")
    assert job is not None
    async with working(redis_url, registry):
        with pytest.raises(codec.JobFailed, match="Permanent: not today"):
            await job.result(timeout=10, poll_delay=0.02)
    await pool.aclose()
