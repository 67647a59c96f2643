"""What an operator may do to a queue with a live worker on it, and what the figures say."""

import asyncio
from datetime import timedelta

import pytest

from smsblossom import jobs
from smsblossom.jobs import Priority
from smsblossom.queue.client import Add, QueueClient, open_client
from smsblossom.queue.control import Control, UnknownJob, WrongState
from smsblossom.queue.jobinfo import JobState
from smsblossom.queue.outcomes import Permanent
from smsblossom.queue.registry import Registry
from smsblossom.queue.topology import GroupLimit, RetryPolicy
from tests.support.queues import EVENTS, Ears, make_job, topology, until, working

FAR = timedelta(hours=1)


@pytest.fixture
async def client(redis_url: str):
    async with open_client(redis_url) as opened:
        yield opened


@pytest.fixture
def control(client: QueueClient) -> Control:
    return Control(client.redis)


class Bench:
    """A processor whose jobs do what their topic says, and wait for `go` when it says so."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.ran: list[str] = []
        self.go = asyncio.Event()
        self.is_broken = True

        @self.registry.processor(jobs.ProcessEvent)
        async def process(_context: object, job: jobs.ProcessEvent) -> str:
            self.ran.append(job.topic)
            if job.topic == "wait":
                await self.go.wait()
            if job.topic == "fail" and self.is_broken:
                raise ValueError("broken")
            if job.topic == "die" and self.is_broken:
                raise Permanent("broken")
            return job.topic


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def states(control: Control) -> dict[str, int]:
    stats = await control.stats(EVENTS)
    counts = {state.value: getattr(stats, state.value) for state in JobState}
    return {name: count for name, count in counts.items() if count}


async def listed(control: Control, state: JobState) -> list[str]:
    return [info.id for info in await control.list_jobs(EVENTS, state)]


async def test_every_state_is_counted_and_listed_once(
    client: QueueClient, control: Control, redis_url: str, bench: Bench
):
    plan = topology(concurrency=1, retries=RetryPolicy(waits=(FAR,)))
    async with working(redis_url, bench.registry, topology=plan):
        for job_id, topic in (("completed", "ok"), ("failed", "fail"), ("dead", "die")):
            await client.add(make_job(topic), job_id=job_id)
        await until(lambda: len(bench.ran) == 3)
        await client.add(make_job("wait"), job_id="active")
        await until(lambda: len(bench.ran) == 4)
        await client.add(make_job(), job_id="waiting")
        await client.add(make_job(), job_id="grouped", group="shop:1", priority=Priority.LOW)
        await client.add(make_job(), job_id="delayed", delay_in=FAR)
        await until(
            lambda: _is(control, {"waiting": 2, "active": 1, "delayed": 1, "completed": 1, "failed": 1, "dead": 1})
        )
        for state in JobState:
            infos = await control.list_jobs(EVENTS, state)
            assert {info.state for info in infos} == {state}
            expected = {"waiting", "grouped"} if state is JobState.WAITING else {state.value}
            assert {info.id for info in infos} == expected
        bench.go.set()


async def _is(control: Control, wanted: dict[str, int]) -> bool:
    return await states(control) == wanted


async def test_a_paused_queue_starts_nothing_until_it_is_resumed(
    client: QueueClient, control: Control, redis_url: str, bench: Bench
):
    assert await control.pause(EVENTS)
    assert not await control.pause(EVENTS)
    await client.add(make_job("ok"))
    async with working(redis_url, bench.registry):
        await asyncio.sleep(0.7)
    async with working(redis_url, bench.registry):
        await asyncio.sleep(0.1)
        assert bench.ran == []
        assert (await control.stats(EVENTS)).is_paused
        assert await control.resume(EVENTS)
        await until(lambda: bench.ran == ["ok"])
    assert not await control.resume(EVENTS)


async def test_what_runs_when_the_queue_is_paused_comes_to_its_end(
    client: QueueClient, control: Control, redis_url: str, bench: Bench
):
    await client.add(make_job("wait"))
    async with working(redis_url, bench.registry):
        await until(lambda: bench.ran == ["wait"])
        await control.pause(EVENTS)
        bench.go.set()
        await until(lambda: _is(control, {"completed": 1}))


async def test_drain_removes_what_waits_and_leaves_what_runs(
    client: QueueClient, control: Control, redis_url: str, bench: Bench
):
    plan = topology(concurrency=1, groups={"shop": GroupLimit(concurrency=1)})
    await client.add(make_job("wait"), group="shop:1", job_id="running")
    async with working(redis_url, bench.registry, topology=plan):
        await until(lambda: bench.ran == ["wait"])
        await client.add_many([Add(job=make_job(), group="shop:1") for _ in range(1500)])
        await client.add_many([Add(job=make_job()) for _ in range(1500)])
        await client.add(make_job(), delay_in=FAR)
        assert await control.drain(EVENTS) == 3000
        assert await states(control) == {"active": 1, "delayed": 1}
        assert await control.drain(EVENTS, delayed=True) == 1
        bench.go.set()
        await until(lambda: _is(control, {"completed": 1}))
    assert await client.redis.keys("arq:job:*") == []


async def test_clean_forgets_what_ended_long_enough_ago_and_no_more_than_asked(
    client: QueueClient, control: Control, redis_url: str, bench: Bench
):
    await client.add_many([Add(job=make_job("ok")) for _ in range(10)])
    await client.add(make_job("die"))
    async with working(redis_url, bench.registry):
        await until(lambda: _is(control, {"completed": 10, "dead": 1}))
        assert await control.clean(EVENTS, JobState.COMPLETED, older_than=FAR) == 0
        assert await control.clean(EVENTS, JobState.COMPLETED, older_than=timedelta(0), limit=4) == 4
        assert await control.clean(EVENTS, JobState.COMPLETED, older_than=timedelta(0)) == 6
        assert await control.clean(EVENTS, JobState.DEAD, older_than=timedelta(0)) == 1
        assert await states(control) == {}
        with pytest.raises(ValueError, match="not waiting"):
            await control.clean(EVENTS, JobState.WAITING, older_than=FAR)
    assert await client.redis.keys("arq:*") == []


async def test_a_dead_job_is_retried_from_its_first_attempt(
    client: QueueClient, control: Control, redis_url: str, bench: Bench
):
    job_id = await client.add(make_job("die"), priority=Priority.LOW, group="shop:1")
    async with working(redis_url, bench.registry):
        await until(lambda: _is(control, {"dead": 1}))
        bench.is_broken = False
        await control.retry(EVENTS, job_id)
        await until(lambda: _is(control, {"completed": 1}))
    info = await client.get_job(EVENTS, job_id)
    assert (info.attempts, info.result) == (1, "die")


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.DEAD])
async def test_all_of_a_state_are_retried(
    client: QueueClient, control: Control, redis_url: str, bench: Bench, state: JobState
):
    plan = topology(retries=RetryPolicy(waits=(FAR,)))
    topic = "fail" if state is JobState.FAILED else "die"
    await client.add_many([Add(job=make_job(topic)) for _ in range(20)])
    async with working(redis_url, bench.registry, topology=plan):
        await until(lambda: _is(control, {state.value: 20}))
        bench.is_broken = False
        assert await control.retry_all(EVENTS, state=state) == 20
        await until(lambda: _is(control, {"completed": 20}))


async def test_a_delayed_job_is_promoted(client: QueueClient, control: Control, redis_url: str, bench: Bench):
    job_id = await client.add(make_job("ok"), delay_in=FAR)
    async with working(redis_url, bench.registry):
        await control.promote(EVENTS, job_id)
        await until(lambda: bench.ran == ["ok"])


async def test_a_running_job_is_aborted_at_once(client: QueueClient, control: Control, redis_url: str, bench: Bench):
    ears = Ears()
    job_id = await client.add(make_job("wait"))
    async with working(redis_url, bench.registry, events=ears, poll_in=timedelta(seconds=30)):
        await until(lambda: bench.ran == ["wait"])
        await control.abort(EVENTS, job_id)
        await until(lambda: _is(control, {"failed": 1}))
        assert ears.names(job_id) == ["started", "failed"]
        bench.go.set()
        await control.retry(EVENTS, job_id)
        await until(lambda: _is(control, {"completed": 1}))


async def test_a_waiting_job_is_aborted_before_it_starts(
    client: QueueClient, control: Control, redis_url: str, bench: Bench
):
    job_id = await client.add(make_job("ok"), delay_in=FAR)
    await control.abort(EVENTS, job_id)
    info = await client.get_job(EVENTS, job_id)
    assert (info.state, info.error.type) == (JobState.FAILED, "JobAborted")
    async with working(redis_url, bench.registry):
        await asyncio.sleep(0.1)
        assert bench.ran == []
        await control.retry(EVENTS, job_id)
        await until(lambda: bench.ran == ["ok"])


async def test_a_job_is_removed_in_every_state_but_active(
    client: QueueClient, control: Control, redis_url: str, bench: Bench
):
    await client.add(make_job("wait"), job_id="a")
    await client.add(make_job("ok"), job_id="b")
    async with working(redis_url, bench.registry):
        await until(lambda: len(bench.ran) == 2)
        await until(lambda: _is(control, {"active": 1, "completed": 1}))
        with pytest.raises(WrongState, match="job a is active"):
            await control.remove(EVENTS, "a")
        await control.remove(EVENTS, "b")
        with pytest.raises(UnknownJob):
            await control.remove(EVENTS, "b")
        bench.go.set()
        await until(lambda: _is(control, {"completed": 1}))


@pytest.mark.parametrize("verb", ["promote", "retry", "abort", "remove"])
async def test_an_unknown_job_is_an_error(control: Control, redis_url: str, verb: str):
    with pytest.raises(UnknownJob):
        await getattr(control, verb)(EVENTS, "nobody")


@pytest.mark.parametrize("verb", ["promote", "retry"])
async def test_a_waiting_job_can_be_neither_promoted_nor_retried(client: QueueClient, control: Control, verb: str):
    await client.add(make_job(), job_id="a")
    with pytest.raises(WrongState, match="job a is waiting"):
        await getattr(control, verb)(EVENTS, "a")


async def test_lists_are_paged(client: QueueClient, control: Control):
    await client.add_many([Add(job=make_job(), job_id=f"{i:03}") for i in range(120)])
    pages = [
        [info.id for info in await control.list_jobs(EVENTS, JobState.WAITING, offset=at, limit=50)]
        for at in (0, 50, 100, 150)
    ]
    assert [len(page) for page in pages] == [50, 50, 20, 0]
    assert sorted(job_id for page in pages for job_id in page) == [f"{i:03}" for i in range(120)]


async def test_a_worker_shows_while_it_lives_and_goes_when_it_stops(
    client: QueueClient, control: Control, redis_url: str, bench: Bench
):
    assert (await control.stats(EVENTS)).workers == []
    async with working(redis_url, bench.registry) as group:
        await until(lambda: _has_worker(control, group.worker_id))
    assert (await control.stats(EVENTS)).workers == []


async def _has_worker(control: Control, worker_id: str) -> bool:
    return worker_id in (await control.stats(EVENTS)).workers


async def test_totals_and_the_oldest_wait(client: QueueClient, control: Control, redis_url: str, bench: Bench):
    await client.add_many([Add(job=make_job("ok")) for _ in range(5)])
    await client.add(make_job("fail"))
    plan = topology(retries=RetryPolicy(waits=(timedelta(0),), jitter=0))
    async with working(redis_url, bench.registry, topology=plan):
        await until(lambda: _is(control, {"completed": 5, "dead": 1}))
    stats = await control.stats(EVENTS)
    assert stats.totals == {"completed": 5, "retried": 1, "dead": 1}
    await client.add(make_job(), priority=Priority.BACKGROUND)
    await client.add(make_job(), priority=Priority.CRITICAL)
    await asyncio.sleep(0.2)
    assert timedelta(seconds=0.2) <= (await control.stats(EVENTS)).oldest < timedelta(seconds=10)


async def test_a_removed_child_does_not_leave_its_parent_waiting_for_ever(
    client: QueueClient, control: Control, redis_url: str
):
    parent = await client.add_flow(Add(job=make_job("parent")), [Add(job=make_job("child"), job_id="child")])
    await control.remove(EVENTS, "child")
    # The sweep leaves young parents alone: their children may be on their way.
    await client.redis.zadd("events:blocked", {parent: 1})
    async with working(redis_url, Bench().registry):
        await until(lambda: _is(control, {"dead": 1}))
    info = await client.get_job(EVENTS, parent)
    assert info.error.type == "ChildFailed"
