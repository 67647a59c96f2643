"""The figures of several processes on one page, and a queue's health as its workers come and go: real processes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from smsblossom.queue.metrics_board import BOARD, MetricsBoard
from smsblossom.store.ids import new_id
from tests.support.queues import make_job, until
from tests.support.service import Service, running

N = 60
SERVED_WITHIN_S = 15.0
"""What a queue without a worker may take to be told; what it takes to look comes on top."""


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Service]:
    async with running(workers=2) as started:
        yield started


async def test_one_scrape_counts_the_jobs_of_two_workers(service: Service) -> None:
    await both_workers_take_part(service)
    before = await counted(service)
    token = service.environ["API_TOKEN"]
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        for _ in range(N):
            await add(session, service)

    async def all_counted() -> bool:
        return await counted(service) == before + N

    await until(all_counted)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        async with session.get(f"{service.url}/api/v1/metrics/snapshot") as answer:
            snapshot = await answer.json()
    assert snapshot["queues"]["events"]["totals"]["succeeded"] == before + N
    pids = {process["pid"] for process in snapshot["processes"]}
    assert pids == {service.web.pid, *(worker.pid for worker in service.workers)}


async def test_a_queue_without_a_worker_turns_health_down_and_back(service: Service) -> None:
    await until(turns(service, 200))
    for worker in service.workers:
        await worker.kill()
    await until(turns(service, 503), within=SERVED_WITHIN_S + 3)
    down = await health(service)
    await service.workers[0].start()
    await until(turns(service, 200), within=SERVED_WITHIN_S)
    assert down["status"] == "down"
    assert {queue["worker"] for queue in down["queues"].values()} == {"none"}


def turns(service: Service, status: int) -> Callable[[], Awaitable[bool]]:
    async def has_turned() -> bool:
        async with aiohttp.ClientSession() as session, session.get(f"{service.url}/queue/health") as answer:
            return answer.status == status

    return has_turned


async def health(service: Service) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"{service.url}/queue/health") as answer:
        return await answer.json()


async def add(session: aiohttp.ClientSession, service: Service) -> None:
    job = make_job()
    arguments = {"shop_id": str(job.shop_id), "event_id": str(job.event_id), "topic": job.topic}
    body = {"function": "events:process", "arguments": arguments}
    async with session.post(f"{service.url}/api/v1/jobs", json=body) as answer:
        assert answer.status == 202


async def both_workers_take_part(service: Service) -> None:
    """Both are alive on every queue. Which of them takes a job is Redis's affair; both publish what they did."""

    async def two_each() -> bool:
        return {queue["workers"] for queue in (await health(service))["queues"].values()} == {2}

    await until(two_each)


async def counted(service: Service) -> int:
    """The histogram's count of `events:process` runs, as one scrape of the web process shows it."""
    async with aiohttp.ClientSession() as session, session.get(f"{service.url}/queue/metrics") as answer:
        text = await answer.text()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "smsblossom_job_seconds_count" and sample.labels["function"] == "events:process":
                return int(sample.value)
    return 0


# ---------------------------------------------------------------------- the board itself


def a_process(client: Redis, jobs: int) -> tuple[MetricsBoard, str]:
    """A process that has done so many jobs, each of which took 20 ms."""
    registry, process_id = CollectorRegistry(), new_id()
    Counter("jobs", "Jobs", ["queue"], registry=registry).labels(queue="events").inc(jobs)
    seconds = Histogram("seconds", "Duration", buckets=(0.01, 0.1), registry=registry)
    for _ in range(jobs):
        seconds.observe(0.02)
    return MetricsBoard(client, registry, process_id), str(process_id)


def values(families: Any) -> dict[str, float]:
    return {
        f"{sample.name}{dict(sample.labels).get('le', '')}": sample.value
        for family in families
        for sample in family.samples
    }


async def test_counters_and_histograms_of_all_processes_are_added_up(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        first, first_id = a_process(client, 3)
        second, second_id = a_process(client, 4)
        await first.publish()
        await second.publish()
        gathered = await first.everything()
    found = values(gathered.families)
    assert (found["jobs_total"], found["seconds_count"]) == (7, 7)
    assert (found["seconds_bucket0.01"], found["seconds_bucket0.1"]) == (0, 7)
    assert set(gathered.processes) == {first_id, second_id}
    assert min(vitals.rss_bytes for vitals in gathered.processes.values()) > 1_000_000


async def test_the_figures_of_a_process_that_is_gone_are_taken_over_once(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        gone, gone_id = a_process(client, 3)
        await gone.publish()
        await age(client, gone_id)
        heirs = [a_process(client, 1)[0] for _ in range(2)]
        for heir in heirs:
            await heir.publish()
        await heirs[0].publish()
        gathered = await heirs[1].everything()
        pages = await client.execute_command("HKEYS", BOARD)
    assert values(gathered.families)["jobs_total"] == 5
    assert gone_id.encode() not in pages
    assert gone_id not in gathered.processes


async def age(client: Any, process_id: str) -> None:
    """Make a process's page look as if it had been published long ago."""
    page = msgspec.msgpack.decode(await client.execute_command("HGET", BOARD, process_id))
    await put(client, process_id, {**page, "at": 0.0})


async def put(client: Any, process_id: str, page: dict[str, Any]) -> None:
    await client.execute_command("HSET", BOARD, process_id, msgspec.msgpack.encode(page))


async def test_a_page_of_an_earlier_release_is_read(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        board, board_id = a_process(client, 1)
        await put(client, str(uuid4()), {"at": 9e9, "families": []})
        gathered = await board.everything()
    assert set(gathered.processes) == {board_id}
