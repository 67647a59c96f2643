"""The operator API at work: queues, jobs, dead letters and the snapshot, against a live worker."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from smsblossom.bootstrap import open_runtime
from smsblossom.cli.serve import listening
from smsblossom.jobs import QueueName
from smsblossom.queue.jobinfo import JobState
from tests.support import servers as support
from tests.support.operated import SHOP, TOKEN, Operated, operated
from tests.support.queues import until
from tests.support.servers import TestServers

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
async def running(
    servers: TestServers, worker_number: int, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Operated]:
    database = await support.clone(servers, f"{servers.template}_api_{worker_number}")
    redis_url = support.redis_database(servers.redis_url, 8 + worker_number)
    alerts = {"QUEUE_ALERT_WAITING": "2", "QUEUE_ALERT_FAILED": "1", "QUEUE_ALERT_OLDEST": "0.5"}
    try:
        async with operated(database, redis_url, tmp_path_factory.mktemp("api"), **alerts) as started:
            yield started
    finally:
        await support.drop(servers, database)


@pytest.fixture
async def service(running: Operated) -> AsyncIterator[Operated]:
    """Empty queues before, and nothing paused or running afterwards."""
    await running.clear()
    yield running
    await running.calm()


def a_job(**changed: Any) -> dict[str, Any]:
    arguments = {"shop_id": str(SHOP), "event_id": str(uuid4()), "topic": "succeed"}
    return {"function": "events:process", "arguments": {**arguments, **changed}}


# ---------------------------------------------------------------------- adding and polling


async def test_a_job_is_added_and_polled_until_it_is_done(service: Operated) -> None:
    added = await service.ask("POST", "/jobs", body=a_job())
    assert (added.status, added.body["queue"]) == (202, "events")
    await service.in_state(added.body["id"], JobState.COMPLETED)
    polled = await service.ask("GET", f"/jobs/{added.body['id']}")
    assert (polled.status, polled.body["state"], polled.body["result"]) == (200, "completed", {"did": "succeed"})
    assert polled.body["data"]["request_id"] == added.headers["X-Request-Id"]
    assert ("api", f"events/{added.body['id']}") in await service.audited("job.added")


async def test_polling_shows_the_progress_of_a_running_job(service: Operated) -> None:
    job_id = await service.add("wait")

    async def is_half_way() -> bool:
        return bool((await service.ask("GET", f"/jobs/{job_id}?queue=events")).body["progress"])

    await until(is_half_way)
    shown = (await service.ask("GET", f"/jobs/{job_id}")).body
    assert (shown["state"], shown["progress"], shown["note"]) == ("active", 0.5, "half way")


async def test_how_and_when_are_taken_along(service: Operated) -> None:
    how = {"job_id": "nightly:1", "priority": "low", "delay_s": 3600}
    added = (await service.ask("POST", "/jobs", body={**a_job(), **how})).body
    again = (await service.ask("POST", "/jobs", body={**a_job(), **how})).body
    assert (added["id"], added["state"], added["priority"]) == ("nightly:1", "delayed", "low")
    assert again["data"] == added["data"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        pytest.param({}, 400, ["function", "events:process"], id="nothing"),
        pytest.param(
            {**a_job(), "function": "evnts:process"}, 400, ["function", "evnts:process"], id="unknown function"
        ),
        pytest.param({**a_job(), "function": 7}, 400, ["function", "events:process"], id="function is a number"),
        pytest.param({**a_job(), "surprise": 1}, 400, ["surprise"], id="unknown field"),
        pytest.param(a_job(surprise=1), 400, ["arguments.surprise"], id="unknown argument"),
        pytest.param(a_job(event_id="x"), 400, ["arguments.event_id", "for example"], id="malformed argument"),
        pytest.param(
            {**a_job(), "arguments": {}}, 400, ["arguments.shop_id: is missing; for example"], id="missing argument"
        ),
        pytest.param({**a_job(), "priority": "urgent"}, 400, ["priority", '"normal"'], id="unknown priority"),
        pytest.param({**a_job(), "delay_s": -1}, 400, ["delay_s", "60"], id="negative delay"),
        pytest.param({**a_job(), "run_at": "2026-12-01"}, 400, ["run_at", "2026-12-01T09:00:00Z"], id="day for a time"),
        pytest.param({**a_job(), "run_at": "2026-12-01T09:00:00"}, 400, ["run_at", "Z"], id="time without offset"),
        pytest.param(a_job(object_id="x" * 102_400), 413, ["arguments"], id="job above 100 KB"),
        pytest.param(a_job(object_id="x" * 140_000), 413, ["body"], id="body above 128 KB"),
        pytest.param(b"{", 400, ["body", "JSON", "events:process"], id="no JSON"),
        pytest.param(b'"\xff"', 400, ["body"], id="no UTF-8"),
    ],
)
async def test_a_malformed_job_is_refused_by_the_name_of_its_field(
    service: Operated, body: Any, status: int, words: list[str]
) -> None:
    answer = await service.ask("POST", "/jobs", body=body)
    assert (answer.status, answer.content_type) == (status, "application/problem+json")
    assert [word for word in words if word not in answer.body["detail"]] == []
    stats = (await service.ask("GET", "/queues/events")).body
    assert (stats["waiting"], stats["delayed"], stats["active"], stats["completed"]) == (0, 0, 0, 0)


async def test_a_body_without_a_length_is_cut_off_at_the_limit(service: Operated) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 4096

    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with service.session.post(f"{service.url}/api/v1/jobs", data=chunks(), headers=headers) as answer:
        assert answer.status == 413


@pytest.mark.parametrize(("method", "path"), [("POST", "/jobs"), ("GET", "/queues"), ("GET", "/jobs/x")])
async def test_without_redis_the_answer_is_503_at_once(service: Operated, method: str, path: str) -> None:
    nowhere = replace(service.runtime.settings, redis_url="redis://127.0.0.1:1/0")
    async with open_runtime(nowhere, pool_size=2) as runtime, listening(runtime, "127.0.0.1", 0) as url:
        cut_off = replace(service, runtime=runtime, url=url)
        answer = await cut_off.ask(method, path, body=a_job(), timeout=aiohttp.ClientTimeout(total=5))
    assert (answer.status, answer.content_type) == (503, "application/problem+json")
    assert "Redis" in answer.body["detail"]
    assert answer.headers["Retry-After"]


# ---------------------------------------------------------------------- queues


async def test_verbs_do_what_they_say_and_conflicts_are_told(service: Operated) -> None:
    said: dict[str, list[tuple[int, str | None]]] = {}
    for verb in ("pause", "pause", "resume", "resume"):
        answer = await service.ask("POST", f"/queues/events/{verb}")
        said.setdefault(verb, []).append((answer.status, answer.body.get("done")))
    assert said == {"pause": [(200, "paused"), (409, None)], "resume": [(200, "resumed"), (409, None)]}
    assert ("api", "events") in await service.audited("queue.paused")


async def test_jobs_are_listed_promoted_removed_and_drained(service: Operated) -> None:
    first, second, _ = [await service.add("succeed", delay_in=HOUR) for _ in range(3)]
    page = (await service.ask("GET", "/queues/events/jobs?state=delayed&limit=2&offset=1")).body
    assert (len(page["jobs"]), page["total"], page["offset"], page["limit"]) == (2, 3, 1, 2)
    assert (await service.ask("POST", f"/queues/events/jobs/{first}/promote")).body["done"] == "promoted"
    await service.in_state(first, JobState.COMPLETED)
    assert (await service.ask("POST", f"/queues/events/jobs/{first}/promote")).status == 409
    assert (await service.ask("DELETE", f"/queues/events/jobs/{second}")).body["id"] == second
    assert (await service.ask("DELETE", f"/queues/events/jobs/{second}")).status == 404
    assert (await service.ask("POST", "/queues/events/drain", body={"delayed": True})).body["jobs"] == 1
    cleaned = await service.ask("POST", "/queues/events/clean", body={"state": "completed", "older_than_s": 0})
    assert cleaned.body["jobs"] == 1


async def test_failed_jobs_are_retried_and_running_ones_aborted(service: Operated) -> None:
    failing = [await service.add("fail") for _ in range(2)]
    for job_id in failing:
        await service.in_state(job_id, JobState.FAILED)
    assert (await service.ask("POST", f"/queues/events/jobs/{failing[0]}/retry")).status == 200
    assert (await service.ask("POST", "/queues/events/retry", body={"job_id": failing[1]})).body["jobs"] == 1
    for job_id in failing:
        await service.buried(job_id)
    waiting = await service.add("wait")
    await service.in_state(waiting, JobState.ACTIVE)
    assert (await service.ask("POST", f"/queues/events/jobs/{waiting}/abort")).body["done"] == "aborted"
    await service.in_state(waiting, JobState.FAILED)


async def test_dead_letters_are_listed_shown_retried_and_dropped(service: Operated) -> None:
    job_id = await service.add("die")
    await service.buried(job_id)
    page = (await service.ask("GET", "/dead-letters?queue=events&error_type=Permanent")).body
    [letter] = page["letters"]
    shown = (await service.ask("GET", f"/dead-letters/{job_id}")).body
    assert (letter["job_id"], page["total"], shown) == (job_id, 1, letter)
    assert (await service.ask("GET", "/dead-letters?queue=delivery")).body["letters"] == []
    assert (await service.ask("POST", f"/dead-letters/{letter['id']}/retry")).body["letters"] == 1

    async def died_again() -> bool:
        again = (await service.ask("GET", f"/dead-letters/{job_id}")).body
        return bool(again["state"] == "dead" and again["last_failed_at"] != letter["last_failed_at"])

    await until(died_again)
    assert (await service.ask("POST", "/dead-letters/retry", body={"queue": "delivery"})).body["letters"] == 0
    assert (await service.ask("DELETE", f"/dead-letters/{job_id}")).body["done"] == "dropped"
    assert (await service.ask("DELETE", f"/dead-letters/{job_id}")).status == 404
    assert ("api", job_id) in await service.audited("dead_letter.dropped")


async def test_nothing_personal_is_answered(service: Operated) -> None:
    dead, failed = await service.add("die"), await service.add("fail")
    await service.buried(dead)
    await service.in_state(failed, JobState.FAILED)
    paths = [f"/jobs/{dead}", f"/jobs/{failed}", "/dead-letters", "/queues/events/jobs?state=failed"]
    answers = [json.dumps((await service.ask("GET", path)).body) for path in paths]
    assert [text for text in answers if "[number]" not in text] == []
    assert [text for text in answers if "0142" in text or "ada@" in text] == []


# ---------------------------------------------------------------------- alerts and figures


async def test_alerts_are_raised_above_their_thresholds_and_fall_again(service: Operated) -> None:
    quiet = await _health(service)
    await service.ask("POST", "/queues/events/pause")
    for _ in range(3):
        await service.add("succeed")

    async def both_raised() -> bool:
        return await _raised(service) == {("events", "waiting"), ("events", "oldest")}

    await until(both_raised)
    raised = await _health(service)
    gauges = await _metrics(service)
    await service.ask("POST", "/queues/events/resume")

    async def none_raised() -> bool:
        return await _raised(service) == set()

    await until(none_raised)
    assert quiet["alerts"] == []
    assert raised["alerts"][0] == {
        "queue": "events", "alert": "waiting", "value": 3, "threshold": 2,
        "detail": "3 jobs of events are waiting, more than 2",
    }  # fmt: skip
    assert 'smsblossom_queue_alert{alert="waiting",queue="events"} 1.0' in gauges
    assert 'smsblossom_queue_alert{alert="failed",queue="events"} 0.0' in gauges
    assert 'smsblossom_queue_paused{queue="events"} 1.0' in gauges


async def test_failed_and_dead_jobs_raise_an_alert(service: Operated) -> None:
    dead, failed = await service.add("die"), await service.add("fail")
    await service.buried(dead)
    await service.in_state(failed, JobState.FAILED)
    health = await _health(service)
    assert (health["queues"]["events"]["dead"], health["queues"]["events"]["failed"]) == (1, 1)
    assert [(alert["alert"], alert["value"]) for alert in health["alerts"]] == [("failed", 2)]


async def _raised(service: Operated) -> set[tuple[str, str]]:
    return {(alert["queue"], alert["alert"]) for alert in (await _health(service))["alerts"]}


async def _health(service: Operated) -> Any:
    async with service.session.get(f"{service.url}/queue/health") as answer:
        return await answer.json()


async def _metrics(service: Operated) -> list[str]:
    async with service.session.get(f"{service.url}/queue/metrics") as answer:
        return (await answer.text()).splitlines()


async def _snapshot(service: Operated, ready: Callable[[Any], bool]) -> Any:
    """The first snapshot that is so, within ten seconds; each look is itself a request to count."""
    for _ in range(100):
        snapshot = (await service.ask("GET", "/metrics/snapshot")).body
        if ready(snapshot):
            break
        await asyncio.sleep(0.1)
    return snapshot


async def test_the_snapshot_counts_what_was_done(service: Operated) -> None:
    # Rates need a reading from before the jobs; the first is made soon after the start.
    first = await _snapshot(service, lambda found: found["window_s"] > 0.01)
    before = first["queues"]["events"]["totals"]
    for topic in ("succeed", "succeed", "succeed", "die"):
        job_id = await service.add(topic)
        await (service.buried(job_id) if topic == "die" else service.in_state(job_id, JobState.COMPLETED))
    await service.ask("GET", "/jobs/unknown")
    snapshot = await _snapshot(
        service,
        lambda found: (
            found["queues"]["events"]["totals"]["dead"] > before["dead"] and found["requests"]["per_minute"] > 0
        ),
    )
    events, process = snapshot["queues"]["events"], snapshot["process"]
    assert set(snapshot["queues"]) == {str(name) for name in QueueName}
    assert events["totals"]["succeeded"] - before["succeeded"] == 3
    assert events["totals"]["dead"] - before["dead"] == 1
    assert events["jobs_per_minute"] > 0
    assert 0 < events["success_rate"] < 1
    assert events["average_s"] > 0
    assert events["p95_s"] > 0
    assert process["memory_bytes"] > 1_000_000
    assert process["cpu_s"] > 0
    assert process["uptime_s"] > 0
    assert process["process_id"] in {each["process_id"] for each in snapshot["processes"]}
    assert snapshot["requests"]["total"] > 0
    assert snapshot["requests"]["per_minute"] > 0
