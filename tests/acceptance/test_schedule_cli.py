"""`smsblossom schedule` and `smsblossom audit` as an operator types them, on a real PostgreSQL, with a live worker."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from smsblossom import settings
from smsblossom.bootstrap import Runtime, open_runtime
from smsblossom.jobs import QueueName
from smsblossom.queue.jobinfo import JobState
from smsblossom.usecases import schedules
from tests.support.queues import until
from tests.support.running import environment, working
from tests.support.servers import Database

UPKEEP = ("--function", "housekeeping:run", "--args", '{"type": "purge"}')


@dataclass(frozen=True)
class Cli:
    environ: dict[str, str]
    runtime: Runtime

    async def run(self, *words: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from smsblossom.cli import main; main()", *words,
            env=self.environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def json(self, *words: str) -> Any:
        code, out, err = await self.run(*words, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)


@pytest.fixture
async def cli(fresh_database: Database, redis_url: str) -> AsyncIterator[Cli]:
    """The command line of a service whose worker runs."""
    environ = {**environment(fresh_database, redis_url, "http://127.0.0.1:9", 8080), "PATH": ""}
    async with (
        open_runtime(settings.load(environ), pool_size=5) as runtime,
        working(runtime, [QueueName.HOUSEKEEPING]),
    ):
        yield Cli(environ, runtime)


async def test_a_schedule_from_its_making_to_its_end(cli: Cli) -> None:
    code, out, err = await cli.run(
        "schedule", "add", "nightly", *UPKEEP, "--cron", "0 4 * * *", "--timezone", "America/New_York"
    )
    assert (code, err) == (0, "")
    assert out.startswith("nightly fires next at ")
    listed = {each["name"]: each for each in await cli.json("schedule", "list")}
    assert listed["nightly"]["timing"] == {"type": "cron", "expression": "0 4 * * *", "timezone": "America/New_York"}
    assert "housekeeping.expire" in listed, "the worker has made the system's own"

    fired = await cli.json("schedule", "run", "nightly")
    assert fired["queued"]

    async def has_run() -> bool:
        info = await cli.runtime.queue.get_job(QueueName.HOUSEKEEPING, fired["job_id"])
        return info is not None and info.state is JobState.COMPLETED

    await until(has_run)
    assert (await cli.json("schedule", "pause", "nightly"))["paused"]
    assert not (await cli.json("schedule", "resume", "nightly"))["paused"]
    changed = await cli.json("schedule", "add", "nightly", *UPKEEP, "--every", "15m", "--replace")
    assert changed["timing"]["type"] == "interval"
    assert await cli.json("schedule", "remove", "nightly") == {"name": "nightly", "removed": True}
    code, out, err = await cli.run("schedule", "list")
    assert (code, err) == (0, "")
    assert "housekeeping.redrive" in out
    counts = {tally["action"]: tally["count"] for tally in await cli.json("audit", "report")}
    assert counts["schedule.added"] == counts["schedule.changed"] == counts["schedule.removed"] == 1
    code, out, err = await cli.run("audit", "list", "--action", "schedule.removed")
    assert (code, err) == (0, "")
    assert "operator at the command line" in out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        pytest.param(("add", "x", *UPKEEP, "--cron", "61 * * * *"), "bad minute", id="malformed cron"),
        pytest.param(
            ("add", "x", "--function", "housekeeping:run", "--args", '{"kind": "purge"}', "--every", "5m"),
            "takes no 'kind'",
            id="unknown argument",
        ),
        pytest.param(
            ("add", "x", "--function", "housekeeping:run", "--args", "purge", "--every", "5m"), "no JSON", id="no JSON"
        ),
        pytest.param(("add", "x", *UPKEEP, "--at", "tomorrow"), "no ISO 8601 time", id="malformed moment"),
        pytest.param(("pause", "nothing"), "none with the name", id="unknown schedule"),
        pytest.param(("pause", "housekeeping.purge"), "paused already", id="paused twice"),
    ],
)
async def test_bad_input_is_one_line_and_exit_code_2(refusing: Cli, words: tuple[str, ...], complaint: str) -> None:
    code, out, err = await refusing.run("schedule", *words)
    assert (code, out) == (2, "")
    assert complaint in err
    assert err.startswith("smsblossom: ")
    assert err.count("\n") == 1


@pytest.fixture
async def refusing(database: Database, redis_url: str) -> AsyncIterator[Cli]:
    """A command line without a worker: nothing that is refused needs one."""
    environ = {**environment(database, redis_url, "http://127.0.0.1:9", 8080), "PATH": ""}
    async with open_runtime(settings.load(environ), pool_size=2) as runtime:
        await schedules.seed(runtime)
        name = "housekeeping.purge"
        if not any(found.paused for found in await schedules.listing(runtime) if found.name == name):
            await schedules.pause(runtime, name, actor="test")
        yield Cli(environ, runtime)
