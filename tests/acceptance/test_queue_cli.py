"""Every verb of `smsblossom queue` against a live worker, and every mistake a person makes with it."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from smsblossom.cli.session import ACTOR
from smsblossom.queue.jobinfo import JobState
from tests.support import servers as support
from tests.support.operated import Command, Operated, operated
from tests.support.queues import until
from tests.support.servers import TestServers

HOUR = timedelta(hours=1)
NOBODY = "0193d3a0-7c2e-7f10-8a54-0d6a5f0e9c11"


@pytest.fixture(scope="module")
async def running(
    servers: TestServers, worker_number: int, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Operated]:
    database = await support.clone(servers, f"{servers.template}_queue_cli_{worker_number}")
    redis_url = support.redis_database(servers.redis_url, 8 + worker_number)
    try:
        async with operated(database, redis_url, tmp_path_factory.mktemp("queue-cli")) as started:
            yield started
    finally:
        await support.drop(servers, database)


@pytest.fixture
async def service(running: Operated) -> AsyncIterator[Operated]:
    """Empty queues before, and nothing paused or running afterwards."""
    await running.clear()
    yield running
    await running.calm()


def said(command: Command, line: str) -> None:
    """The command did what was asked, and said so in this line."""
    assert (command.code, command.err) == (0, "")
    assert command.out == f"{line}\n"


def refused(command: Command, *words: str) -> None:
    """One line on standard error that has these words, and exit code 2."""
    assert (command.code, command.out) == (2, "")
    assert command.err.startswith("smsblossom: ")
    assert command.err.count("\n") == 1
    for word in words:
        assert word in command.err


# ---------------------------------------------------------------------- looking


async def test_stats_show_every_queue_with_its_worker(service: Operated) -> None:
    await service.in_state(await service.add("succeed"), JobState.COMPLETED)
    await until(lambda: _all_served(service))
    table = await service.run("queue", "stats")
    [events] = (await service.run("queue", "stats", "events", "--json")).json["queues"]
    assert table.code == 0
    assert [line.split()[0] for line in table.out.splitlines()[2:]] == [
        "events", "automations", "campaigns", "delivery", "housekeeping",
    ]  # fmt: skip
    assert (events["queue"], events["completed"], events["workers"], events["is_paused"]) == ("events", 1, 1, False)
    assert events["totals"]["completed"] == 1


async def _all_served(service: Operated) -> bool:
    found = (await service.run("queue", "stats", "--json")).json["queues"]
    return all(queue["workers"] for queue in found)


async def test_a_job_shows_progress_then_its_result(service: Operated) -> None:
    waiting = await service.add("wait")

    async def is_half_way() -> bool:
        return bool((await service.run("queue", "job", waiting, "--json")).json["progress"])

    await until(is_half_way)
    running = await service.run("queue", "job", waiting)
    done = await service.add("succeed")
    await service.in_state(done, JobState.COMPLETED)
    ended = (await service.run("queue", "job", done, "--json")).json
    assert "active" in running.out
    assert "50% half way" in running.out
    assert (ended["state"], ended["result"], ended["attempts"]) == ("completed", {"did": "succeed"}, 1)
    assert ended["started_at"] <= ended["finished_at"]


async def test_a_dead_job_is_shown_after_its_burial_without_anything_personal(service: Operated) -> None:
    job_id = await service.add("die")
    await service.buried(job_id)
    shown = await service.run("queue", "job", job_id)
    assert shown.code == 0
    assert "Permanent: call [number] or mail [e-mail]" in shown.out
    assert "ada@example.com" not in shown.out
    assert "Traceback" in shown.out


async def test_jobs_are_listed_page_by_page(service: Operated) -> None:
    added = {await service.add("succeed", delay_in=HOUR * (n + 1)) for n in range(5)}
    first = await service.run("queue", "jobs", "events", "--state", "delayed", "--limit", "2")
    pages = [
        (await service.run("queue", "jobs", "events", "--state", "delayed", "--limit", "2", *offset, "--json")).json
        for offset in ((), ("--offset", "2"), ("--offset", "4"))
    ]
    assert first.out.rstrip().endswith("1-2 of 5; next: --offset 2")
    assert [len(page["jobs"]) for page in pages] == [2, 2, 1]
    assert {job["id"] for page in pages for job in page["jobs"]} == added
    assert {page["total"] for page in pages} == {5}


# ---------------------------------------------------------------------- changing


async def test_pause_holds_jobs_until_resume(service: Operated) -> None:
    said(await service.run("queue", "pause", "events"), "events is paused; go on with: smsblossom queue resume events")
    job_id = await service.add("succeed")
    [events] = (await service.run("queue", "stats", "events", "--json")).json["queues"]
    assert (events["is_paused"], events["waiting"], events["active"]) == (True, 1, 0)
    said(await service.run("queue", "resume", "events"), "events runs again")
    await service.in_state(job_id, JobState.COMPLETED)
    assert (ACTOR, "events") in await service.audited("queue.paused")
    assert (ACTOR, "events") in await service.audited("queue.resumed")


async def test_drain_removes_what_waits_and_on_demand_what_is_delayed(service: Operated) -> None:
    await service.run("queue", "pause", "events")
    for _ in range(3):
        await service.add("succeed")
    await service.add("succeed", delay_in=HOUR)
    said(await service.run("queue", "drain", "events", "--yes"), "removed 3 jobs from events")
    done = await service.run("queue", "drain", "events", "--delayed", "--yes", "--json")
    assert done.json == {"queue": "events", "done": "drained", "jobs": 1}
    assert (ACTOR, "events") in await service.audited("queue.drained")
    await service.run("queue", "resume", "events")


async def test_clean_forgets_old_results_up_to_a_limit(service: Operated) -> None:
    for job_id in [await service.add("succeed") for _ in range(3)]:
        await service.in_state(job_id, JobState.COMPLETED)
    clean = ("queue", "clean", "events", "--older-than")
    said(await service.run(*clean, "1h"), "forgot 0 jobs of events that had completed")
    said(await service.run(*clean, "0s", "--limit", "2"), "forgot 2 jobs of events that had completed")
    said(await service.run(*clean, "0s", "--state", "completed"), "forgot 1 job of events that had completed")
    assert (ACTOR, "events") in await service.audited("queue.cleaned")


async def test_clean_forgets_dead_letters_with_an_audit_row_each(service: Operated) -> None:
    job_id = await service.add("die")
    await service.buried(job_id)
    said(
        await service.run("queue", "clean", "events", "--state", "dead", "--older-than", "0s"),
        "forgot 1 job of events that had died",
    )
    refused(await service.run("queue", "dead", "show", job_id), job_id)
    assert (ACTOR, job_id) in await service.audited("dead_letter.dropped")


async def test_retry_runs_a_failed_job_now(service: Operated) -> None:
    job_id = await service.add("fail")
    await service.in_state(job_id, JobState.FAILED)
    said(await service.run("queue", "retry", "events", job_id), "1 job of events will run again")
    await service.buried(job_id)
    assert (ACTOR, f"events/{job_id}") in await service.audited("job.retried")


async def test_retry_all_takes_every_failed_job(service: Operated) -> None:
    failing = [await service.add("fail") for _ in range(3)]
    for job_id in failing:
        await service.in_state(job_id, JobState.FAILED)
    said(await service.run("queue", "retry", "events", "--all"), "3 jobs of events will run again")
    for job_id in failing:
        await service.buried(job_id)
    assert (ACTOR, "events") in await service.audited("queue.retried")


@pytest.mark.parametrize("which", [pytest.param("JOB", id="one"), pytest.param("--all", id="all")])
async def test_retry_runs_dead_jobs_from_their_letters(service: Operated, which: str) -> None:
    job_id = await service.add("die")
    await service.buried(job_id)
    before = (await service.run("queue", "dead", "show", job_id, "--json")).json
    chosen = (job_id,) if which == "JOB" else ("--all", "--state", "dead")
    said(await service.run("queue", "retry", "events", *chosen), "1 job of events will run again")

    async def died_again() -> bool:
        return bool((await service.run("queue", "dead", "show", job_id, "--json")).json != before)

    await until(died_again)
    await service.buried(job_id)
    assert (ACTOR, job_id) in await service.audited("dead_letter.redriven")


async def test_remove_forgets_a_job(service: Operated) -> None:
    job_id = await service.add("succeed", delay_in=HOUR)
    said(await service.run("queue", "remove", "events", job_id), f"removed job {job_id} of events")
    refused(await service.run("queue", "job", job_id), "not known on any queue")
    assert (ACTOR, f"events/{job_id}") in await service.audited("job.removed")


async def test_promote_makes_a_delayed_job_due(service: Operated) -> None:
    job_id = await service.add("succeed", delay_in=HOUR)
    said(await service.run("queue", "promote", "events", job_id), f"promoted job {job_id} of events")
    await service.in_state(job_id, JobState.COMPLETED)
    assert (ACTOR, f"events/{job_id}") in await service.audited("job.promoted")


async def test_abort_stops_a_running_job(service: Operated) -> None:
    job_id = await service.add("wait")
    await service.in_state(job_id, JobState.ACTIVE)
    said(await service.run("queue", "abort", "events", job_id), f"aborted job {job_id} of events")
    await service.in_state(job_id, JobState.FAILED)
    shown = (await service.run("queue", "job", job_id, "--json")).json
    assert (shown["state"], shown["result"]) == ("failed", None)
    assert shown["error"]["type"] in {"JobAborted", "CancelledError"}
    assert (ACTOR, f"events/{job_id}") in await service.audited("job.aborted")


async def test_dead_letters_are_listed_shown_retried_and_dropped(service: Operated) -> None:
    dead = [await service.add("die") for _ in range(2)]
    for job_id in dead:
        await service.buried(job_id)
    listed = (await service.run("queue", "dead", "list", "--queue", "events", "--json")).json
    other = await service.run("queue", "dead", "list", "--queue", "delivery")
    shown = await service.run("queue", "dead", "show", listed[0]["id"])
    assert {letter["job_id"] for letter in listed} == set(dead)
    assert other.out == "no dead letters\n"
    assert "[number]" in shown.out
    assert "555" not in shown.out
    said(await service.run("queue", "dead", "drop", dead[0], "--yes"), f"dropped the dead letter {dead[0]}")
    said(
        await service.run("queue", "dead", "retry", "--all", "--error", "Permanent"),
        "1 dead job will run again",
    )
    assert (ACTOR, dead[0]) in await service.audited("dead_letter.dropped")


# ---------------------------------------------------------------------- mistakes


VERBS = [
    pytest.param(("stats", "QUEUE"), id="stats"),
    pytest.param(("jobs", "QUEUE"), id="jobs"),
    pytest.param(("pause", "QUEUE"), id="pause"),
    pytest.param(("resume", "QUEUE"), id="resume"),
    pytest.param(("drain", "QUEUE", "--yes"), id="drain"),
    pytest.param(("clean", "QUEUE", "--older-than", "1h"), id="clean"),
    pytest.param(("retry", "QUEUE", "--all"), id="retry all"),
    pytest.param(("retry", "QUEUE", NOBODY), id="retry"),
    pytest.param(("remove", "QUEUE", NOBODY), id="remove"),
    pytest.param(("promote", "QUEUE", NOBODY), id="promote"),
    pytest.param(("abort", "QUEUE", NOBODY), id="abort"),
    pytest.param(("job", NOBODY, "--queue", "QUEUE"), id="job"),
    pytest.param(("dead", "list", "--queue", "QUEUE"), id="dead list"),
]


@pytest.mark.parametrize("verb", VERBS)
async def test_an_unknown_queue_is_named_with_the_known_ones(running: Operated, verb: tuple[str, ...]) -> None:
    arguments = ["evnets" if word == "QUEUE" else word for word in verb]
    refused(await running.run("queue", *arguments), "'evnets'", "for example events")


@pytest.mark.parametrize(
    "verb",
    [
        ("job", NOBODY),
        ("job", NOBODY, "--queue", "events"),
        ("retry", "events", NOBODY),
        ("remove", "events", NOBODY),
        ("promote", "events", NOBODY),
        ("abort", "events", NOBODY),
        ("dead", "show", NOBODY),
        ("dead", "retry", NOBODY),
        ("dead", "drop", NOBODY, "--yes"),
    ],
    ids=" ".join,
)
async def test_an_unknown_job_is_named(service: Operated, verb: tuple[str, ...]) -> None:
    refused(await service.run("queue", *verb), NOBODY, "smsblossom queue")


async def test_pausing_and_resuming_twice_is_told(service: Operated) -> None:
    refused(await service.run("queue", "resume", "events"), "not paused", "smsblossom queue pause events")
    await service.run("queue", "pause", "events")
    refused(await service.run("queue", "pause", "events"), "paused already", "smsblossom queue resume events")
    await service.run("queue", "resume", "events")


@pytest.mark.parametrize(
    ("verb", "topic", "state", "hint"),
    [
        pytest.param("remove", "wait", JobState.ACTIVE, "smsblossom queue abort events", id="remove a running job"),
        pytest.param("promote", "succeed", JobState.COMPLETED, "is completed", id="promote a completed job"),
        pytest.param("retry", "succeed", JobState.COMPLETED, "is completed", id="retry a completed job"),
        pytest.param("abort", "succeed", JobState.COMPLETED, "is completed", id="abort a completed job"),
    ],
)
async def test_a_job_in_the_wrong_state_is_left_alone(
    service: Operated, verb: str, topic: str, state: JobState, hint: str
) -> None:
    job_id = await service.add(topic)
    await service.in_state(job_id, state)
    refused(await service.run("queue", verb, "events", job_id), job_id, hint)
    await service.in_state(job_id, state)


async def test_a_job_of_another_queue_is_not_found_on_this_one(service: Operated) -> None:
    job_id = await service.add("succeed", delay_in=HOUR)
    refused(await service.run("queue", "remove", "delivery", job_id), "not known on delivery")
    await service.in_state(job_id, JobState.DELAYED)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("jobs", "events", "--state", "odd"), ("'odd'", "--state waiting"), id="state"),
        pytest.param(("jobs", "events", "--limit", "0"), ("--limit",), id="limit of none"),
        pytest.param(("jobs", "events", "--limit", "many"), ("'many'",), id="limit in words"),
        pytest.param(("jobs", "events", "--offset", "-1"), ("--offset",), id="offset below zero"),
        pytest.param(("clean", "events"), ("--older-than 1h",), id="clean without an age"),
        pytest.param(("clean", "events", "--older-than", "soon"), ("'soon'", "1h"), id="age in words"),
        pytest.param(("clean", "events", "--older-than", "999999999d"), ("1h",), id="age beyond all time"),
        pytest.param(
            ("clean", "events", "--older-than", "1h", "--state", "waiting"), ("--state completed",), id="clean waiting"
        ),
        pytest.param(("retry", "events"), ("JOB", "--all"), id="retry nothing"),
        pytest.param(("retry", "events", NOBODY, "--all"), ("JOB", "--all"), id="retry both"),
        pytest.param(("retry", "events", "--all", "--state", "active"), ("--state failed",), id="retry active"),
        pytest.param(("dead", "retry"), ("LETTER", "--all"), id="retry no letter"),
        pytest.param(("dead", "list", "--shop", "example.com"), ("example.myshopify.com",), id="no shop"),
        pytest.param(("drain", "events"), ("--yes",), id="drain unasked"),
        pytest.param(("dead", "drop", NOBODY), ("--yes",), id="drop unasked"),
        pytest.param(("pause",), ("QUEUE", "events"), id="no queue"),
        pytest.param(("pause", "events", "delivery"), ("delivery",), id="two queues"),
        pytest.param(("stats", "--quick"), ("--quick",), id="unknown option"),
        pytest.param(("stop",), ("'stop'",), id="unknown verb"),
    ],
)
async def test_malformed_input_is_one_line(
    running: Operated, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused(await running.run("queue", *arguments), *words)


GROUPS = ["", "dead"]
EACH = ["stats", "job", "jobs", "pause", "resume", "drain", "clean", "retry", "remove", "promote", "abort"]
LETTERS = ["dead list", "dead show", "dead retry", "dead drop"]


@pytest.mark.parametrize("verb", [*GROUPS, *EACH, *LETTERS])
async def test_help_teaches(running: Operated, verb: str) -> None:
    helped = await running.run("queue", *verb.split(), "--help")
    assert helped.code == 0
    assert "Usage: smsblossom queue" in helped.out
    assert ("--json" in helped.out) == (verb not in GROUPS)
    assert helped.out.count("smsblossom queue") > 1 or verb in LETTERS
