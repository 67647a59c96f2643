"""`smsblossom doctor`: check what an operator would check, and say what to do about it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import click

from smsblossom import settings as settings_module
from smsblossom import telemetry
from smsblossom.bootstrap import Clock
from smsblossom.cli import options, show
from smsblossom.domain.ids import SYSTEM
from smsblossom.jobs import QueueName
from smsblossom.queue.client import open_client
from smsblossom.queue.connection import QueueUnavailable, unavailable_as_error
from smsblossom.settings import SettingError, Settings
from smsblossom.store import controls, health, migrations, workers
from smsblossom.store.engine import Store, StoreUnavailable, open_store
from smsblossom.store.health import ServerFacts

OLDEST_POSTGRESQL: Final = 15
OLDEST_REDIS: Final = (6, 2)
HEARTBEAT_WITHIN: Final = timedelta(seconds=15)
SKEW_TOLD: Final = timedelta(seconds=2)
SKEW_TOO_FAR: Final = timedelta(seconds=30)
_ANSWER_WITHIN_S: Final = 3.0


class Status(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `todo` is empty where nothing needs to be done."""

    name: str
    status: Status
    found: str
    todo: str = ""


@click.command()
@options.as_json
def doctor(*, as_json: bool) -> None:
    """Check everything an operator would check. Exit code 1 when something fails.

    Settings, PostgreSQL (version, role, durability, tables, clock), Redis (version, eviction, persistence), the
    web process, a worker for each queue, the switches that stop sending, and the way to the provider.
    """
    try:
        settings = settings_module.load()
    except SettingError as error:
        if error.name == "DATABASE_URL":
            raise  # nothing is set up here at all: no table is needed to say that
        checks = [Check("settings", Status.FAIL, str(error), "set it in the environment")]
    else:
        telemetry.configure_logging("error", "console")
        checks = asyncio.run(examine(settings))
    if as_json:
        show.json([{"name": c.name, "status": c.status, "found": c.found, "todo": c.todo} for c in checks])
    else:
        lines = [(c.status.value, c.name, c.found, c.todo) for c in checks]
        show.rows(("", "check", "found", "what to do"), lines, empty="nothing to check")
    click.get_current_context().exit(int(any(c.status is Status.FAIL for c in checks)))


async def examine(settings: Settings) -> list[Check]:
    """All checks; the independent ones at the same time."""
    groups = await asyncio.gather(_postgresql(settings), _redis(settings), _web(settings), _provider(settings))
    sandbox = "sandbox: texts reach no phone" if settings.sandbox else "production"
    return [Check("settings", Status.OK, f"complete; {sandbox}"), *(check for group in groups for check in group)]


# ---- PostgreSQL


async def _postgresql(settings: Settings) -> list[Check]:
    try:
        async with open_store(settings.database_url, pool_size=1) as store:
            async with store.transaction() as connection:
                facts = await health.server_facts(connection)
            skew = abs(facts.clock_at - Clock().now())
            checks = [Check("PostgreSQL", Status.OK, f"reached as {facts.role}"), *server_checks(facts, skew)]
            return [*checks, *(await _tables(store, facts))]
    except StoreUnavailable as error:
        todo = "start it (on a laptop: smsblossom up), or mend DATABASE_URL"
        return [Check("PostgreSQL", Status.FAIL, f"cannot be reached ({error})", todo)]


def server_checks(facts: ServerFacts, skew: timedelta) -> list[Check]:
    """What the server says of itself, judged."""
    oldest = OLDEST_POSTGRESQL * 10_000
    return [
        _judged("PostgreSQL version", facts.version, ok=facts.version_num >= oldest, todo="upgrade to 15 or newer"),
        _judged(
            "PostgreSQL role",
            "a superuser or BYPASSRLS: row-level security does not hold it"
            if facts.unsafe
            else "row-level security holds",
            ok=not facts.unsafe,
            todo="let DATABASE_URL connect as smsblossom_app (migrations/roles.sql)",
        ),
        _judged(
            "PostgreSQL durability",
            "fsync, synchronous_commit and full_page_writes " + ("are on" if facts.durable else "are not all on"),
            ok=facts.durable,
            todo="turn them on: an answered webhook must survive a power cut",
        ),
        clock_check(skew),
    ]


def clock_check(skew: timedelta) -> Check:
    seconds = skew.total_seconds()
    found = f"{seconds:.1f} s apart from PostgreSQL's"
    if skew > SKEW_TOO_FAR:
        return Check(
            "clock", Status.FAIL, found, "synchronize both machines (NTP): hours and lateness are judged by it"
        )
    if skew > SKEW_TOLD:
        return Check("clock", Status.WARN, found, "synchronize both machines (NTP)")
    return Check("clock", Status.OK, found)


async def _tables(store: Store, facts: ServerFacts) -> list[Check]:
    head = migrations.head()
    if not facts.has_tables:
        return [Check("tables", Status.FAIL, "there are none", "smsblossom migrate")]
    async with store.transaction(SYSTEM) as connection:
        revision = await health.revision(connection)
        if revision != head:
            found = f"at {revision}, this release is at {head}"
            return [Check("tables", Status.FAIL, found, "smsblossom migrate, or run the release that made them")]
        served = await workers.served_queues(connection, within=HEARTBEAT_WITHIN)
        stopped = await controls.is_on(connection, controls.STOP_ALL)
        held = await controls.is_on(connection, controls.SENDING_HELD)
    return [
        Check("tables", Status.OK, f"at {revision}"),
        *(worker_check(queue, is_served=queue in served) for queue in QueueName),
        sending_check(stopped=stopped, held=held),
    ]


def worker_check(queue: QueueName, *, is_served: bool) -> Check:
    if is_served:
        return Check(f"queue {queue.value}", Status.OK, "has a live worker")
    todo = f"smsblossom worker --queue {queue.value} (or smsblossom up)"
    return Check(f"queue {queue.value}", Status.FAIL, f"no worker for {HEARTBEAT_WITHIN.seconds} s", todo)


def sending_check(*, stopped: bool, held: bool) -> Check:
    release = "smsblossom stop-all --release"
    if stopped:
        return Check("sending", Status.WARN, "stopped by stop-all: every text is withheld", release)
    if held:
        found = "held since a start after hours of silence: a restored backup?"
        return Check("sending", Status.WARN, found, f"look at the messages of before, then {release}")
    return Check("sending", Status.OK, "on")


# ---- Redis


async def _redis(settings: Settings) -> list[Check]:
    try:
        async with open_client(settings.redis_url) as client, _answering():
            info: dict[str, Any] = await client.redis.info()
    except (QueueUnavailable, TimeoutError) as error:
        todo = "start it (on a laptop: smsblossom up), or mend REDIS_URL; webhooks are kept meanwhile"
        return [Check("Redis", Status.FAIL, f"cannot be reached ({type(error).__name__})", todo)]
    return [Check("Redis", Status.OK, "reached"), *redis_checks(info)]


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    async with unavailable_as_error(), asyncio.timeout(_ANSWER_WITHIN_S):
        yield


def redis_checks(info: dict[str, Any]) -> list[Check]:
    """What INFO says, judged. Losing Redis loses time and no message, so that persistence is a warning."""
    version = str(info.get("redis_version", "0"))
    known = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    policy = str(info.get("maxmemory_policy", "unknown"))
    appends = bool(info.get("aof_enabled"))
    return [
        _judged("Redis version", version, ok=known >= OLDEST_REDIS, todo="upgrade to 6.2 or newer"),
        _judged("Redis eviction", policy, ok=policy == "noeviction", todo="set maxmemory-policy noeviction"),
        Check("Redis persistence", Status.OK, "appendonly is on")
        if appends
        else Check(
            "Redis persistence", Status.WARN, "appendonly is off", "set appendonly yes: a restart loses wake-ups"
        ),
    ]


# ---- the web process, the provider


async def _web(settings: Settings) -> list[Check]:
    url = f"{settings.app_url.rstrip('/')}/health/live"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S)) as client,
            client.get(url) as response,
        ):
            found, ok = f"answers {response.status} at {url}", response.status == 200
    except (aiohttp.ClientError, TimeoutError) as error:
        found, ok = f"no answer at {url} ({type(error).__name__})", False
    return [_judged("web process", found, ok=ok, todo="smsblossom serve; APP_URL must be its public address")]


async def _provider(settings: Settings) -> list[Check]:
    parts = urlsplit(settings.mitto_base_url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    checks = []
    if not settings.mitto_api_key and not settings.sandbox:
        checks.append(Check("provider key", Status.FAIL, "MITTO_API_KEY is not set", "set it: every text is refused"))
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except (OSError, TimeoutError) as error:
        todo = "open the way out (firewall, DNS), or mend MITTO_BASE_URL"
        return [*checks, Check("provider", Status.FAIL, f"no way to {host}:{port} ({type(error).__name__})", todo)]
    return [*checks, Check("provider", Status.OK, f"{host}:{port} is reached")]


def _judged(name: str, found: str, *, ok: bool, todo: str) -> Check:
    return Check(name, Status.OK, found) if ok else Check(name, Status.FAIL, found, todo)
