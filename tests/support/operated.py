"""A service to operate: the real web app, a live worker whose jobs do as they are told, and the real command line."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg

from smsblossom import jobs, settings
from smsblossom.bootstrap import Runtime, open_runtime
from smsblossom.cli.serve import listening
from smsblossom.domain.ids import WebhookEventId, shop_id_of
from smsblossom.jobs import QueueName
from smsblossom.queue.control import Control, UnknownJob, WrongState
from smsblossom.queue.jobinfo import JobInfo, JobState
from smsblossom.queue.outcomes import Permanent, Retryable
from smsblossom.queue.progress import report_progress
from smsblossom.queue.registry import Registry
from smsblossom.queue.topology import TOPOLOGY, RetryPolicy, with_overrides
from smsblossom.usecases.bury import DeadLetterStore
from smsblossom.usecases.telling import MeasuredEvents
from tests.support.queues import until, working
from tests.support.running import environment
from tests.support.servers import Database

TOKEN = "api-token-of-the-tests"
SHOP = shop_id_of("operated.myshopify.com")
A_LONG_TIME_S = 3600.0


def work_of_the_tests() -> Registry:
    """`events:process` jobs do what their topic says."""
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def obey(_runtime: Runtime, job: jobs.ProcessEvent) -> object:
        match job.topic:
            case "wait":
                await report_progress(0.5, "half way")
                await asyncio.sleep(A_LONG_TIME_S)
            case "fail":
                raise Retryable("call +1 202 555 0142 or mail ada@example.com")
            case "die":
                raise Permanent("call +1 202 555 0142 or mail ada@example.com")
            case _:
                pass
        return {"did": job.topic}

    return registry


@dataclass(frozen=True)
class Answer:
    """What the API said."""

    status: int
    body: Any
    content_type: str
    headers: Any


@dataclass(frozen=True)
class Command:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Operated:
    """The service and an operator's hands."""

    runtime: Runtime
    url: str
    session: aiohttp.ClientSession
    shell: asyncio.subprocess.Process
    rows: asyncpg.Pool

    async def ask(self, method: str, path: str, *, body: Any = None, token: str | None = TOKEN, **how: Any) -> Answer:
        """One request to the API; a `body` of bytes is sent as it is."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = f"{self.url}/api/v1{path}"
        async with self.session.request(method, url, data=data, headers=headers, **how) as answer:
            raw = await answer.read()
            parsed = json.loads(raw) if "json" in answer.content_type else raw
            return Answer(answer.status, parsed, answer.content_type, answer.headers)

    async def run(self, *arguments: str) -> Command:
        """`smsblossom …` in a process of its own."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        self.shell.stdin.write(json.dumps(arguments).encode() + b"\n")
        line = await self.shell.stdout.readline()
        assert line, "the shell of the tests has ended"
        return Command(*json.loads(line))

    async def add(self, topic: str, **how: Any) -> str:
        """Add a job that does what `topic` says."""
        job = jobs.ProcessEvent(
            shop_id=SHOP,
            request_id="r",
            created_at=self.runtime.now(),
            event_id=WebhookEventId(uuid4()),
            topic=topic,
        )
        return await self.runtime.queue.add(job, **how)

    async def look(self, job_id: str) -> JobInfo | None:
        return await self.runtime.queue.get_job(QueueName.EVENTS, job_id)

    async def in_state(self, job_id: str, state: JobState) -> None:
        """Wait until the job is in this state."""

        async def arrived() -> bool:
            info = await self.look(job_id)
            return info is not None and info.state is state

        await until(arrived)

    async def buried(self, job_id: str) -> None:
        """Wait until the job is among the dead letters and no longer in Redis's own."""

        async def arrived() -> bool:
            letters = await self.rows.fetchval(
                "SELECT count(*) FROM dead_letters WHERE job_id = $1 AND state = 'dead'", job_id
            )
            grave = await self.runtime.queue.redis.zscore("events:dead", job_id)
            return bool(letters) and grave is None

        await until(arrived)

    async def audited(self, action: str) -> list[tuple[str, str]]:
        """Actor and entity of every audit row with this action."""
        rows = await self.rows.fetch("SELECT actor, entity FROM audit_log WHERE action = $1 ORDER BY at", action)
        return [(row["actor"], row["entity"]) for row in rows]

    async def calm(self) -> None:
        """Abort what runs and let every queue go on."""
        control = Control(self.runtime.queue.redis)
        for name in QueueName:
            await control.resume(name)

        async def is_idle() -> bool:
            active = await control.list_jobs(QueueName.EVENTS, JobState.ACTIVE)
            for info in active:
                with suppress(UnknownJob, WrongState):
                    await control.abort(QueueName.EVENTS, info.id)
            return not active

        await until(is_idle)

    async def clear(self) -> None:
        """No jobs, no letters, nothing paused; the worker goes on."""
        await self.runtime.queue.redis.flushdb()
        await self.rows.execute("DELETE FROM dead_letters")


# Forks for each command: importing the service takes longer than anything a command does.
_SHELL = """
import json, os, sys, tempfile, traceback
import smsblossom.cli.queue
from smsblossom.cli.main import main
for line in sys.stdin:
    arguments = json.loads(line)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv = ["smsblossom", *arguments]
            code = 70
            try:
                main()
            except SystemExit as ended:
                code = ended.code or 0
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        print(json.dumps([os.waitstatus_to_exitcode(status), out.read(), err.read()]), flush=True)
"""


@asynccontextmanager
async def operated(database: Database, redis_url: str, folder: Path, **changed: str) -> AsyncIterator[Operated]:
    """A service on this database and Redis; `changed` names settings that differ from the usual."""
    environ = {**environment(database, redis_url, "http://127.0.0.1:9", 1), "AUDIT_SPOOL": str(folder), **changed}
    chosen = settings.load(environ)
    waits = RetryPolicy(waits=(timedelta(seconds=A_LONG_TIME_S),), jitter=0)
    topology = with_overrides(TOPOLOGY, {QueueName.EVENTS: {"retries": waits}})
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(open_runtime(chosen, pool_size=4))
        await stack.enter_async_context(
            working(
                redis_url,
                work_of_the_tests(),
                queues=tuple(QueueName),
                context=runtime,
                topology=topology,
                dead_letters=DeadLetterStore(runtime),
                events=MeasuredEvents(runtime.metrics),
            )
        )
        url = await stack.enter_async_context(listening(runtime, "127.0.0.1", 0))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        rows = await stack.enter_async_context(asyncpg.create_pool(database.superuser_url, min_size=1, max_size=2))
        shell = await stack.enter_async_context(_shell(environ, folder))
        yield Operated(runtime, url, session, shell, rows)


@asynccontextmanager
async def _shell(environ: dict[str, str], folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    shell = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SHELL, stdin=pipe, stdout=pipe, env=environ, cwd=folder, limit=2**22
    )
    try:
        yield shell
    finally:
        assert shell.stdin is not None
        shell.stdin.close()
        await shell.wait()
