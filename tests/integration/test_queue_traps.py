"""Every failure of stock arq 0.28 listed in the issue, as a test that it does not happen here."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from arq.connections import ArqRedis
from arq.constants import abort_jobs_ss
from arq.cron import cron
from arq.jobs import Job
from arq.worker import Retry, func
from arq.worker import Worker as StockWorker

from smsblossom import jobs
from smsblossom.queue import codec
from smsblossom.queue.client import Add, QueueClient, open_client
from smsblossom.queue.control import Control
from smsblossom.queue.engine import Worker
from smsblossom.queue.jobinfo import JobState
from smsblossom.queue.registry import Registry
from smsblossom.queue.run import current_run
from smsblossom.queue.topology import RetryPolicy
from smsblossom.queue.worker import run_worker
from tests.support.queues import EVENTS, Ears, Graveyard, make_job, own_redis, topology, until, working


@pytest.fixture
async def client(redis_url: str):
    async with open_client(redis_url) as opened:
        yield opened


@pytest.fixture
async def arq_redis(redis_url: str):
    pool = ArqRedis.from_url(redis_url)
    yield pool
    await pool.aclose()


def counting(ran: list[str], *, sleep: float = 0) -> Registry:
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, job: jobs.ProcessEvent) -> None:
        ran.append(job.topic)
        await asyncio.sleep(sleep)

    return registry


async def test_a_restart_of_redis_ends_no_worker_and_loses_nothing(tmp_path: Path):
    ran: list[str] = []
    ears = Ears()
    with own_redis(tmp_path) as server:
        async with open_client(server.url) as client, working(server.url, counting(ran, sleep=0.5), events=ears):
            await client.add_many([Add(job=make_job(f"{i}")) for i in range(20)])
            await until(lambda: len(ran) == 10)
            server.kill()
            await asyncio.sleep(1)
            server.start()
            await until(lambda: len(ran) == 20)
            await until(lambda: _is_done(client, 20))
            assert sorted(ran, key=int) == [f"{i}" for i in range(20)]
    assert ("unreachable", "events") in ears.heard
    assert ("recovered", "events") in ears.heard


async def _is_done(client: QueueClient, count: int) -> bool:
    stats = await Control(client.redis).stats(EVENTS)
    return stats.completed == count and stats.active == stats.waiting == 0


async def test_redis_may_come_after_the_worker(tmp_path: Path):
    ran: list[str] = []
    with own_redis(tmp_path) as server:
        server.kill()
        async with open_client(server.url) as client, working(server.url, counting(ran)):
            await asyncio.sleep(0.3)
            server.start()
            await client.add(make_job())
            await until(lambda: len(ran) == 1)


@pytest.mark.parametrize("hook", ["on_job_start", "on_job_end", "after_job_end"])
async def test_an_exception_in_a_hook_ends_neither_worker_nor_job(arq_redis: ArqRedis, hook: str):
    async def task(_ctx: dict) -> int:
        return 1

    async def bad(_ctx: dict) -> None:
        raise RuntimeError("hook")

    worker = Worker([func(task, name="task")], redis_pool=arq_redis, burst=True, handle_signals=False, **{hook: bad})
    handles = [await arq_redis.enqueue_job("task") for _ in range(3)]
    await worker.main()
    assert [await job.result(timeout=1) for job in handles if job] == [1, 1, 1]


async def test_an_exception_in_a_listener_ends_neither_worker_nor_job(client: QueueClient, redis_url: str):
    class Deaf:
        def __getattr__(self, _name: str) -> Callable[..., None]:
            def fail(*_args: object, **_facts: object) -> None:
                raise RuntimeError("listener")

            return fail

    ran: list[str] = []
    async with working(redis_url, counting(ran), events=Deaf()):
        await client.add_many([Add(job=make_job()) for _ in range(5)])
        await until(lambda: _is_done(client, 5))


async def test_kept_results_and_exhausted_tries_do_not_end_the_worker(arq_redis: ArqRedis):
    async def again(_ctx: dict) -> None:
        raise Retry(defer=0.001)

    worker = Worker(
        [func(again, name="again")],
        redis_pool=arq_redis,
        burst=True,
        handle_signals=False,
        keep_result_forever=True,
        max_tries=2,
    )
    job = await arq_redis.enqueue_job("again")
    await worker.main()
    assert job is not None
    assert await arq_redis.ttl(f"arq:result:{job.job_id}") == -1
    assert worker.jobs_failed == 1


async def test_all_slots_of_a_fleet_are_used(redis_url: str):
    """Stock arq: 15 workers with 10 slots run 100 of 300 long jobs at once."""
    running, most, finish = 0, 0, asyncio.Event()
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await finish.wait()
        running -= 1

    async with open_client(redis_url) as client:
        await client.add_many([Add(job=make_job()) for _ in range(300)])
        async with Fleet(redis_url, registry, 15):
            await until(lambda: most == 150, within=30)
            finish.set()
            await until(lambda: _is_done(client, 300), within=30)


class Fleet:
    """A fleet of groups in one process."""

    def __init__(self, redis_url: str, registry: Registry, size: int) -> None:
        self._contexts = [working(redis_url, registry) for _ in range(size)]

    async def __aenter__(self) -> None:
        for context in self._contexts:
            await context.__aenter__()

    async def __aexit__(self, *_error: object) -> None:
        await asyncio.gather(*(context.__aexit__(None, None, None) for context in self._contexts))


async def test_a_blocked_loop_keeps_its_lease(client: QueueClient, redis_url: str):
    """The lease lasts 1 s here, the block 3 s; a second worker stands by."""
    ran: list[int] = []
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> None:
        ran.append(1)
        await asyncio.to_thread(time.sleep, 0)
        blocked.set()

    blocked = asyncio.Event()
    script = await _other_process(redis_url, lease_s=1.0, block_s=3.0)
    job_id = await client.add(make_job("block"))
    try:
        await until(lambda: _state_is(client, job_id, JobState.ACTIVE))
        async with working(redis_url, registry, lease_in=timedelta(seconds=1)):
            await until(lambda: _state_is(client, job_id, JobState.COMPLETED))
    finally:
        script.terminate()
        await script.wait()
    info = await client.get_job(EVENTS, job_id)
    assert (ran, info.result, info.stalls) == ([], "blocked", 0)


async def _state_is(client: QueueClient, job_id: str, wanted: JobState) -> bool:
    info = await client.get_job(EVENTS, job_id)
    return info is not None and info.state is wanted


async def _other_process(redis_url: str, *, lease_s: float, block_s: float) -> asyncio.subprocess.Process:
    program = f"""
import asyncio, time
from datetime import timedelta
from smsblossom import jobs
from smsblossom.queue.registry import Registry
from smsblossom.queue.worker import WorkerGroup
registry = Registry()
@registry.processor(jobs.ProcessEvent)
async def process(context, job):
    time.sleep({block_s})
    return "blocked"
async def main():
    await WorkerGroup(None, [jobs.QueueName.EVENTS], redis_url={redis_url!r}, registry=registry,
                      lease_in=timedelta(seconds={lease_s})).run()
asyncio.run(main())
"""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )


async def test_a_stale_worker_cannot_end_another_owners_job(client: QueueClient, redis_url: str):
    """A worker that lost its job writes no end: not over the new owner's run, and not over its lock."""
    go = asyncio.Event()
    registry, ears = Registry(), Ears()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> str:
        await go.wait()
        return "stale"

    job_id = await client.add(make_job())
    async with working(redis_url, registry, events=ears):
        await until(lambda: _state_is(client, job_id, JobState.ACTIVE))
        await client.redis.hset("events:active", job_id, "other:1:1")
        await client.redis.set(f"arq:in-progress:{job_id}", "other:1:1")
        go.set()
        await until(lambda: "succeeded" in ears.names(job_id))
        await asyncio.sleep(0.2)
        assert await client.redis.get(f"arq:in-progress:{job_id}") == b"other:1:1"
        assert await client.redis.exists(f"arq:job:{job_id}") == 1
        assert await client.redis.exists(f"arq:result:{job_id}") == 0


async def test_a_job_taken_over_is_cancelled_where_it_was(client: QueueClient, redis_url: str):
    cancelled = asyncio.Event()
    registry, ears = Registry(), Ears()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    job_id = await client.add(make_job())
    async with working(redis_url, registry, events=ears, lease_in=timedelta(seconds=1)):
        await until(lambda: _state_is(client, job_id, JobState.ACTIVE))
        await client.redis.hset("events:active", job_id, "other:1:1")
        await until(cancelled.is_set)
    assert ears.names(job_id) == ["started", "lost"]


async def test_an_unknown_function_is_given_back_and_dead_after_a_time(client: QueueClient, redis_url: str):
    ran: list[str] = []
    ears, graveyard = Ears(), Graveyard()
    options = {"unknown_wait_in": timedelta(milliseconds=100), "events": ears}
    job_id = await client.add(make_job("new"))
    async with working(redis_url, Registry(), **options):
        await until(lambda: ears.names(job_id).count("released") >= 3)
        assert not await _state_is(client, job_id, JobState.DEAD)
    async with working(redis_url, counting(ran), **options):
        await until(lambda: ran == ["new"])
    info = await client.get_job(EVENTS, job_id)
    assert info.attempts == 1
    await client.add(make_job("never"), job_id="never")
    async with working(
        redis_url, Registry(), dead_letters=graveyard, unknown_in=timedelta(milliseconds=300), **options
    ):
        await until(lambda: len(graveyard.letters) == 1)
    assert graveyard.letters[0].failure.type == "UnknownFunction"
    assert graveyard.letters[0].attempts == 0


async def test_a_job_older_than_a_day_still_runs(client: QueueClient, redis_url: str):
    ran: list[str] = []
    await client.add(make_job("old"), job_id="old", run_at=datetime.now(UTC) - timedelta(days=3))
    assert await client.redis.ttl("arq:job:old") == -1
    async with working(redis_url, counting(ran)):
        await until(lambda: ran == ["old"])


async def test_a_stale_abort_mark_does_not_kill_a_later_job(client: QueueClient, redis_url: str):
    ran: list[str] = []
    await client.redis.zadd(abort_jobs_ss, {"event:1": round((time.time() - 5) * 1000)})  # noqa: TID251
    await client.add(make_job("alive"), job_id="event:1")
    async with working(redis_url, counting(ran)):
        await until(lambda: _state_is(client, "event:1", JobState.COMPLETED))
    assert ran == ["alive"]


async def test_a_stock_abort_still_works(client: QueueClient, redis_url: str):
    job_id = await client.add(make_job())
    async with working(redis_url, counting([], sleep=60)):
        await until(lambda: _state_is(client, job_id, JobState.ACTIVE))
        job = Job(job_id, client.redis, _queue_name="events", _deserializer=codec.loads)
        with pytest.raises(codec.JobFailed, match="CancelledError"):
            await job.abort(timeout=5, poll_delay=0.02)


async def test_a_cron_retry_is_not_blocked_for_a_minute(arq_redis: ArqRedis):
    tries: list[int] = []

    async def tick(ctx: dict) -> None:
        tries.append(ctx["job_try"])
        if len(tries) == 1:
            raise Retry(defer=0.05)

    worker = Worker(
        cron_jobs=[cron(tick, hour=1, run_at_startup=True, max_tries=2)],
        redis_pool=arq_redis,
        burst=True,
        poll_delay=0.01,
        handle_signals=False,
    )
    async with asyncio.timeout(10):
        await worker.main()
    assert tries == [1, 2]


async def test_every_worker_has_a_heartbeat_of_its_own(client: QueueClient, redis_url: str):
    control = Control(client.redis)

    async def workers() -> set[str]:
        return set((await control.stats(EVENTS)).workers)

    async with working(redis_url, counting([])) as first:
        async with working(redis_url, counting([])) as second:
            await until(lambda: _same(workers, {first.worker_id, second.worker_id}))
        assert await workers() == {first.worker_id}


async def _same(read: Callable[[], Awaitable[set[str]]], wanted: set[str]) -> bool:
    return await read() == wanted


async def test_plain_exceptions_are_retried(client: QueueClient, redis_url: str):
    attempts: list[int] = []
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> None:
        run = current_run()
        assert run is not None
        attempts.append(run.attempt)
        if run.attempt < 3:
            raise OSError("flaky")

    job_id = await client.add(make_job())
    async with working(redis_url, registry, topology=topology(retries=RetryPolicy(waits=(timedelta(0),) * 5))):
        await until(lambda: _state_is(client, job_id, JobState.COMPLETED))
    assert attempts == [1, 2, 3]


async def test_stalls_are_no_attempts_and_have_a_limit_of_their_own(client: QueueClient, redis_url: str):
    """Ten deaths of a worker under the job; the eleventh makes it dead."""
    ran: list[int] = []
    graveyard, ears = Graveyard(), Ears()
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, _job: jobs.ProcessEvent) -> None:
        run = current_run()
        assert run is not None
        ran.append(run.attempt)

    job_id = await client.add(make_job())
    await client.add(make_job(), job_id="neighbour")
    for job, stalls in ((job_id, 10), ("neighbour", 4)):
        await client.redis.hset("events:active", job, "dead:1:1")
        await client.redis.hset(f"arq:meta:{job}", "stalls", stalls)
        await client.redis.zadd("events", {job: 1})
    async with working(redis_url, registry, dead_letters=graveyard, events=ears):
        await until(lambda: len(graveyard.letters) == 1)
        await until(lambda: _state_is(client, "neighbour", JobState.COMPLETED))
    assert ran == [1]
    letter = graveyard.letters[0]
    assert (letter.job_id, letter.failure.type, letter.stalls, letter.attempts) == (job_id, "JobStalled", 11, 0)
    assert "stalled" in ears.names("neighbour")


# --- how a worker goes


async def test_the_first_signal_lets_jobs_finish_and_claims_no_more(client: QueueClient, redis_url: str):
    ran: list[str] = []
    stop = asyncio.Event()
    await client.add_many([Add(job=make_job()) for _ in range(30)])
    task = asyncio.create_task(
        run_worker(None, [EVENTS], redis_url=redis_url, registry=counting(ran, sleep=0.3), stop=stop, events=Ears())
    )
    await until(lambda: len(ran) == 10)
    stop.set()
    await task
    stats = await Control(client.redis).stats(EVENTS)
    assert (len(ran), stats.completed, stats.waiting, stats.active) == (10, 10, 20, 0)


async def test_what_does_not_finish_in_time_is_given_back_without_an_attempt(client: QueueClient, redis_url: str):
    ran: list[str] = []
    job_id = await client.add(make_job())
    async with working(redis_url, counting(ran, sleep=60), shutdown_in=timedelta(milliseconds=200)) as group:
        await until(lambda: len(ran) == 1)
        group.drain()
        await until(lambda: _state_is(client, job_id, JobState.WAITING))
    async with working(redis_url, counting(ran)):
        await until(lambda: _state_is(client, job_id, JobState.COMPLETED))
    info = await client.get_job(EVENTS, job_id)
    assert (info.attempts, info.stalls) == (1, 0)


async def test_the_second_signal_is_immediate_and_loses_nothing(client: QueueClient, redis_url: str):
    ran: list[str] = []
    job_id = await client.add(make_job())
    async with working(redis_url, counting(ran, sleep=60)) as group:
        await until(lambda: len(ran) == 1)
        group.drain()
        group.halt()
    assert await _state_is(client, job_id, JobState.WAITING)


# --- beside stock workers


async def test_stock_workers_and_ours_share_a_queue(client: QueueClient, redis_url: str):
    """5,000 jobs, some of them retried: none lost, none run twice."""
    done: Counter[str] = Counter()
    tried: set[str] = set()

    def work(job_id: str, topic: str) -> None:
        if topic == "again" and job_id not in tried:
            tried.add(job_id)
            raise Retry(defer=0.2)
        done[job_id] += 1

    async def stock(ctx: dict, fields: dict) -> None:
        work(ctx["job_id"], fields["topic"])

    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, job: jobs.ProcessEvent) -> None:
        run = current_run()
        assert run is not None
        work(run.job_id, job.topic)

    await client.add_many([Add(job=make_job("again" if i % 10 == 0 else "plain")) for i in range(5_000)])
    pool = ArqRedis.from_url(redis_url)
    worker = StockWorker(
        [func(stock, name="events:process")],
        queue_name="events",
        redis_pool=pool,
        handle_signals=False,
        poll_delay=0.01,
        job_serializer=codec.dumps,
        job_deserializer=codec.loads,
    )
    main = asyncio.create_task(worker.main())
    async with working(redis_url, registry, topology=topology(concurrency=3)):
        await until(lambda: len(done) == 5_000, within=120)
    await until(lambda: all(task.done() for task in worker.tasks.values()))
    await asyncio.sleep(0.1)
    main.cancel()
    await asyncio.gather(main, return_exceptions=True)
    await pool.aclose()
    assert set(done.values()) == {1}
    assert len(tried) == 500
    assert worker.jobs_complete > 0


def test_jobs_are_never_pickled():
    raw = codec.dumps({"f": "x", "a": (1,), "k": {}, "t": None, "et": 1})
    assert msgspec.msgpack.decode(raw)["f"] == "x"
    with pytest.raises(TypeError):
        codec.dumps({"f": "x", "a": (object(),), "k": {}, "t": None, "et": 1})
