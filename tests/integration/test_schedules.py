"""Schedules on a real PostgreSQL and a real Redis: each tick fires once, whoever looks and whatever breaks."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from smsblossom import jobs, settings
from smsblossom.bootstrap import Clock, Runtime, open_runtime
from smsblossom.domain.ids import SYSTEM, ShopId
from smsblossom.domain.schedules import CatchUp, Cron, Every, Once
from smsblossom.jobs import QueueName
from smsblossom.queue.client import open_client
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.queue.outcomes import Permanent
from smsblossom.queue.registry import Registry
from smsblossom.usecases import dead_letters, purge, schedules
from smsblossom.usecases.bury import DeadLetterStore
from smsblossom.usecases.manage import Refused
from smsblossom.usecases.schedules import NewSchedule
from tests.support.queues import until, working
from tests.support.running import environment
from tests.support.servers import Database

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
FUNCTION = "housekeeping:run"
QUEUE = QueueName.HOUSEKEEPING


class Ran:
    """A registry whose one function remembers the request id of each run, which is the tick's job id."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.ids: list[str] = []
        self.is_broken = False
        self.registry.processor(jobs.RunHousekeeping)(self._run)

    async def _run(self, _context: object, job: jobs.RunHousekeeping) -> None:
        self.ids.append(job.request_id)
        if self.is_broken:
            raise Permanent("broken")


@asynccontextmanager
async def opened(database: Database, redis_url: str, clock: Clock) -> AsyncIterator[Runtime]:
    chosen = settings.load(environment(database, redis_url, "http://127.0.0.1:9", 8080))
    async with open_runtime(chosen, clock=clock, pool_size=3) as runtime:
        yield runtime


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.offset = START - clock.now()
    return clock


@pytest.fixture
async def runtime(database: Database, redis_url: str, clock: Clock, rows: asyncpg.Connection) -> AsyncIterator[Runtime]:
    async with opened(database, redis_url, clock) as runtime:
        yield runtime


@pytest.fixture
async def rows(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection, which sees everything; the tables that no shop divides are empty."""
    connection = await asyncpg.connect(database.superuser_url)
    await connection.execute("TRUNCATE schedules, schedule_ticks, dead_letters, audit_log")
    yield connection
    await connection.close()


@pytest.fixture
def ran() -> Ran:
    return Ran()


def new(name: str = "tidy", **changed: Any) -> NewSchedule:
    fields = {"timing": Every(timedelta(minutes=1), START), "arguments": {"type": "sweep"}, "function": FUNCTION}
    return NewSchedule(**{"name": name, **fields, **changed})


async def save(runtime: Runtime, ran: Ran, schedule: NewSchedule, *, replace_it: bool = False) -> None:
    await schedules.save(runtime, ran.registry, schedule, actor="test", replace=replace_it)


async def states(rows: asyncpg.Connection) -> list[str]:
    return [row["state"] for row in await rows.fetch("SELECT state FROM schedule_ticks ORDER BY tick_at")]


async def test_each_tick_runs_once_however_many_schedulers_look(
    database: Database, redis_url: str, clock: Clock, ran: Ran, rows: asyncpg.Connection
) -> None:
    minutes, count = 8, 10
    async with AsyncExitStack() as stack:
        schedulers = [await stack.enter_async_context(opened(database, redis_url, clock)) for _ in range(5)]
        for number in range(count):
            await save(schedulers[0], ran, new(f"s{number}", catch_up=CatchUp.ALL))
        await stack.enter_async_context(working(redis_url, ran.registry, queues=(QUEUE,)))

        async def round_of(runtime: Runtime) -> None:
            await schedules.fire_due(runtime)
            await schedules.add_jobs(runtime, ran.registry)

        for _ in range(minutes):
            clock.offset += timedelta(minutes=1)
            await asyncio.gather(*(round_of(runtime) for runtime in schedulers))
        expected = minutes * count
        await until(lambda: len(ran.ids) >= expected)
        await asyncio.gather(*(round_of(runtime) for runtime in schedulers))
    assert len(ran.ids) >= expected
    assert Counter(ran.ids).most_common(1)[0][1] == 1


async def test_a_scheduler_that_dies_before_the_queue_loses_nothing(
    runtime: Runtime, redis_url: str, clock: Clock, ran: Ran, rows: asyncpg.Connection
) -> None:
    await save(runtime, ran, new())
    clock.offset += timedelta(minutes=1)
    assert await schedules.fire_due(runtime) == 1
    assert await states(rows) == ["fired"]
    async with working(redis_url, ran.registry, queues=(QUEUE,)):
        assert await schedules.add_jobs(runtime, ran.registry) == 1
        await until(lambda: len(ran.ids) == 1)
    assert await states(rows) == ["added"]


async def test_a_scheduler_that_dies_after_the_queue_runs_nothing_twice(
    runtime: Runtime, redis_url: str, clock: Clock, ran: Ran, rows: asyncpg.Connection
) -> None:
    await save(runtime, ran, new())
    clock.offset += timedelta(minutes=1)
    await schedules.fire_due(runtime)
    async with working(redis_url, ran.registry, queues=(QUEUE,)):
        await schedules.add_jobs(runtime, ran.registry)
        await until(lambda: len(ran.ids) == 1)
        job_id = ran.ids[0]

        async def is_completed() -> bool:
            info = await runtime.queue.get_job(QUEUE, job_id)
            return info is not None and info.finished_at is not None

        await until(is_completed)
        # As if the scheduler had died before it could write down that the job was added.
        await rows.execute("UPDATE schedule_ticks SET state = 'fired', looked_at = NULL")
        assert await schedules.add_jobs(runtime, ran.registry) == 0
    assert await states(rows) == ["done"]
    assert len(ran.ids) == 1


async def test_a_job_that_redis_lost_is_added_again(
    runtime: Runtime, clock: Clock, ran: Ran, rows: asyncpg.Connection
) -> None:
    await save(runtime, ran, new())
    clock.offset += timedelta(minutes=1)
    await schedules.fire_due(runtime)
    await schedules.add_jobs(runtime, ran.registry)
    await runtime.queue.redis.flushdb()
    assert await schedules.add_jobs(runtime, ran.registry) == 0, "it was looked at a moment ago"
    await rows.execute("UPDATE schedule_ticks SET looked_at = looked_at - interval '1 minute'")
    assert await schedules.add_jobs(runtime, ran.registry) == 1


async def test_without_redis_ticks_fire_and_wait(
    runtime: Runtime, clock: Clock, ran: Ran, rows: asyncpg.Connection
) -> None:
    await save(runtime, ran, new())
    clock.offset += timedelta(minutes=1)
    async with open_client("redis://127.0.0.1:9/0") as nobody:
        cut_off = replace(runtime, queue=nobody)
        assert await schedules.fire_due(cut_off) == 1
        with pytest.raises(QueueUnavailable):
            await schedules.add_jobs(cut_off, ran.registry)
    assert await states(rows) == ["fired"]
    assert await schedules.add_jobs(runtime, ran.registry) == 1


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param(CatchUp.SKIP, [], id="skip"),
        pytest.param(CatchUp.ONCE, [5], id="once"),
        pytest.param(CatchUp.ALL, [0, 1, 2, 3, 4, 5], id="all"),
    ],
)
async def test_catching_up_after_a_silence(
    runtime: Runtime, clock: Clock, ran: Ran, rows: asyncpg.Connection, policy: CatchUp, expected: list[int]
) -> None:
    await save(runtime, ran, new(timing=Every(timedelta(hours=1), START + timedelta(hours=1)), catch_up=policy))
    clock.offset += timedelta(hours=6, minutes=30)
    await schedules.fire_due(runtime)
    fired = await rows.fetch("SELECT tick_at FROM schedule_ticks ORDER BY 1")
    assert [row["tick_at"] for row in fired] == [START + timedelta(hours=1 + n) for n in expected]
    (schedule,) = await schedules.listing(runtime)
    assert schedule.next_at == START + timedelta(hours=7)


async def test_a_broken_row_is_paused_and_holds_up_nobody(
    runtime: Runtime, clock: Clock, ran: Ran, rows: asyncpg.Connection
) -> None:
    for name in ("broken", "sound"):
        await save(runtime, ran, new(name))
    await rows.execute("UPDATE schedules SET timing = timing || '{\"every\": \"PT0S\"}' WHERE name = 'broken'")
    clock.offset += timedelta(minutes=1)
    assert await schedules.fire_due(runtime) == 1
    assert {s.name: s.paused for s in await schedules.listing(runtime)} == {"broken": True, "sound": False}
    assert await rows.fetchval("SELECT entity FROM audit_log WHERE action = 'schedule.broken'") == "broken"


async def test_a_schedule_is_changed_paused_and_resumed_while_it_runs(runtime: Runtime, clock: Clock, ran: Ran) -> None:
    await save(runtime, ran, new())
    with pytest.raises(Refused, match="taken"):
        await save(runtime, ran, new())
    await save(runtime, ran, new(timing=Cron("0 9 * * *", "America/New_York")), replace_it=True)
    (changed,) = await schedules.listing(runtime)
    assert changed.next_at == datetime(2026, 11, 22, 14, tzinfo=UTC)
    await schedules.pause(runtime, "tidy", actor="test")
    with pytest.raises(Refused, match="paused already"):
        await schedules.pause(runtime, "tidy", actor="test")
    clock.offset += timedelta(days=3)
    assert await schedules.fire_due(runtime) == 0
    resumed = await schedules.resume(runtime, "tidy", actor="test")
    assert resumed.next_at == datetime(2026, 11, 25, 14, tzinfo=UTC)


async def test_a_one_off_fires_once_and_is_over(runtime: Runtime, clock: Clock, ran: Ran) -> None:
    await save(runtime, ran, new(timing=Once(START + timedelta(hours=1))))
    clock.offset += timedelta(hours=2)
    assert [await schedules.fire_due(runtime) for _ in range(3)] == [1, 0, 0]
    (over,) = await schedules.listing(runtime)
    assert over.next_at is None


async def test_a_dead_tick_is_run_again_from_its_dead_letter(
    runtime: Runtime, redis_url: str, clock: Clock, ran: Ran, rows: asyncpg.Connection
) -> None:
    await save(runtime, ran, new())
    clock.offset += timedelta(minutes=1)
    await schedules.fire_due(runtime)
    ran.is_broken = True
    async with working(redis_url, ran.registry, queues=(QUEUE,), dead_letters=DeadLetterStore(runtime)):
        await schedules.add_jobs(runtime, ran.registry)

        async def is_dead() -> bool:
            return await states(rows) == ["dead"]

        await until(is_dead)
        ran.is_broken = False
        assert (await dead_letters.redrive(runtime, ran.ids[0], actor="test")).letters == 1
        await until(lambda: len(ran.ids) == 2)
    assert await states(rows) == ["added"]
    assert await rows.fetchval("SELECT state FROM dead_letters") == "redriven"


async def test_the_upkeep_is_seeded_once_and_operators_keep_their_changes(runtime: Runtime, ran: Ran) -> None:
    seeded = await schedules.seed(runtime)
    assert seeded == len(schedules.upkeep(START))
    await schedules.pause(runtime, "housekeeping.expire", actor="test")
    assert await schedules.seed(runtime) == 0
    assert {s.name for s in await schedules.listing(runtime) if s.paused} == {"housekeeping.expire"}
    with pytest.raises(Refused, match="pause"):
        await schedules.remove(runtime, "housekeeping.expire", actor="test")


async def test_every_type_of_upkeep_is_one_that_housekeeping_knows(runtime: Runtime) -> None:
    from processors.housekeeping import run

    for schedule in schedules.upkeep(START):
        job = jobs.RunHousekeeping(request_id="r", created_at=START, **schedule.arguments)
        assert isinstance(await run(runtime, job), dict)


async def test_a_shops_schedule_is_its_own_and_its_job_names_the_shop(runtime: Runtime, clock: Clock, ran: Ran) -> None:
    shop_id = ShopId(uuid4())
    await schedules.save(runtime, ran.registry, new(), shop_id=shop_id, actor="test", replace=False)
    with pytest.raises(Refused, match="none with the name"):
        await schedules.pause(runtime, "tidy", shop_id=SYSTEM, actor="test")
    clock.offset += timedelta(minutes=1)
    await schedules.fire_due(runtime)
    await schedules.add_jobs(runtime, ran.registry)
    (schedule,) = await schedules.listing(runtime, shop_id)
    info = await runtime.queue.get_job(QUEUE, schedules.job_id_of(schedule.id, START + timedelta(minutes=1)))
    assert info is not None
    assert info.data["shop_id"] == str(shop_id)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        pytest.param({"function": "housekeeping:walk"}, "no 'housekeeping:walk'", id="unknown function"),
        pytest.param({"arguments": {"type": "sweep", "depth": 3}}, "takes no 'depth'", id="unknown argument"),
        pytest.param({"arguments": {"type": "sweep", "shop_id": "x"}}, "shop_id is set", id="an argument of ours"),
        pytest.param({"arguments": {"type": 5}}, r"Expected `str`, got `int` - at `\$.type`", id="wrong type"),
        pytest.param({"arguments": {}}, "missing required field `type`", id="missing argument"),
        pytest.param({"name": "two words"}, "without spaces", id="name"),
    ],
)
async def test_what_cannot_run_is_refused_by_name(
    runtime: Runtime, ran: Ran, changed: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(Refused, match=complaint):
        await save(runtime, ran, new(**changed))
    assert await schedules.listing(runtime) == []


async def test_a_tick_waits_for_a_release_that_knows_its_function_and_not_for_ever(
    runtime: Runtime, clock: Clock, ran: Ran, rows: asyncpg.Connection
) -> None:
    await save(runtime, ran, new())
    clock.offset += timedelta(minutes=1)
    await schedules.fire_due(runtime)
    assert await schedules.add_jobs(runtime, Registry()) == 0
    assert await states(rows) == ["fired"]
    clock.offset += timedelta(minutes=16)
    await schedules.add_jobs(runtime, Registry())
    assert await states(rows) == ["dead"]
    assert await rows.fetchval("SELECT count(*) FROM audit_log WHERE action = 'schedule.tick_refused'") == 1


async def test_ended_ticks_are_forgotten_after_a_while(
    runtime: Runtime, clock: Clock, ran: Ran, rows: asyncpg.Connection
) -> None:
    await save(runtime, ran, new())
    clock.offset += timedelta(minutes=1)
    await schedules.fire_due(runtime)
    await rows.execute("UPDATE schedule_ticks SET state = 'done', ended_at = $1", clock.now())
    assert await purge.purge(runtime) == {"schedule_ticks": 0}
    clock.offset += timedelta(days=31)
    assert await purge.purge(runtime) == {"schedule_ticks": 1}
