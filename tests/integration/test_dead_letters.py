"""Dead letters: kept with their rows ended, run again with their rows revived, and gone only with a word."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from smsblossom import jobs, settings
from smsblossom.bootstrap import Runtime, open_runtime
from smsblossom.domain.ids import SYSTEM, ContactId, MessageId, ShopId, WebhookEventId
from smsblossom.jobs import Job
from smsblossom.queue import codec
from smsblossom.queue.client import open_client
from smsblossom.queue.codec import JobFailure
from smsblossom.queue.dead_letters import DeadLetter
from smsblossom.queue.jobinfo import JobState
from smsblossom.store import dead_letters as letters_store
from smsblossom.store.dead_letters import Filter, LetterState
from smsblossom.usecases import dead_letters
from smsblossom.usecases.bury import DeadLetterStore
from smsblossom.usecases.manage import Refused
from tests.support.running import environment
from tests.support.servers import Database


@pytest.fixture
async def runtime(database: Database, redis_url: str, rows: asyncpg.Connection) -> AsyncIterator[Runtime]:
    chosen = settings.load(environment(database, redis_url, "http://127.0.0.1:9", 8080))
    async with open_runtime(chosen, pool_size=3) as runtime:
        yield runtime


@pytest.fixture
async def rows(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection, which sees everything; the tables that no shop divides are empty."""
    connection = await asyncpg.connect(database.superuser_url)
    await connection.execute("TRUNCATE schedules, schedule_ticks, dead_letters, audit_log")
    yield connection
    await connection.close()


@pytest.fixture
def shop_id() -> ShopId:
    return ShopId(uuid4())


def letter(runtime: Runtime, job: Job, job_id: str, /, *, error: str = "ValueError", **changed: Any) -> DeadLetter:
    now = runtime.now()
    fields: dict[str, Any] = {
        "job_id": job_id,
        "queue": str(job.queue),
        "function": job.function,
        "data": None,
        "raw": codec.encode_job(job.function, job, enqueued_ms=0, priority=str(job.priority)),
        "failure": JobFailure(error, "no such thing", "trace"),
        "attempts": 6,
        "stalls": 0,
        "first_failed_at": now - timedelta(minutes=1),
        "died_at": now,
        "shop_id": str(job.shop_id),
        "request_id": "req-1",
        "priority": str(job.priority),
        "group": None,
    }
    return DeadLetter(**{**fields, **changed})


def event_letter(runtime: Runtime, shop_id: ShopId, event_id: UUID, **how: Any) -> DeadLetter:
    job = jobs.ProcessEvent(
        shop_id=shop_id,
        request_id="req-1",
        created_at=runtime.now(),
        event_id=WebhookEventId(event_id),
        topic="orders/create",
    )
    return letter(runtime, job, f"event:{event_id}", **how)


async def add_event(rows: asyncpg.Connection, shop_id: ShopId, now: datetime) -> UUID:
    event_id = uuid4()
    await rows.execute(
        "INSERT INTO webhook_events (shop_id, id, topic, webhook_id, shop_domain, received_at, request_id, body_bytes) "
        "VALUES ($1, $2, 'orders/create', $3, 'example.myshopify.com', $4, 'req-1', 0)",
        shop_id, event_id, str(event_id), now,
    )  # fmt: skip
    return event_id


async def add_run(rows: asyncpg.Connection, shop_id: ShopId, event_id: UUID, now: datetime) -> None:
    await rows.execute(
        "INSERT INTO runs (shop_id, id, automation_id, trigger, subject, webhook_event_id, request_id, received_at, "
        "created_at) VALUES ($1, $2, $3, 'order_created', 'order:1', $4, 'req-1', $5, $5)",
        shop_id, uuid4(), uuid4(), event_id, now,
    )  # fmt: skip


async def add_message(rows: asyncpg.Connection, shop_id: ShopId, state: str, now: datetime) -> UUID:
    message_id = uuid4()
    await rows.execute(
        "INSERT INTO messages (shop_id, id, source, source_id, subject, phone_index, message_class, state, "
        "phone_sealed, body_sealed, sender, encoding, parts, due_at, provider, received_at, planned_at, decided_at, "
        "updated_at, request_id) VALUES ($1, $2, 'automation', $3, 'order:1', '', 'transactional', $4, '', '', "
        "'Blossom', 'gsm7', 1, $5, 'mitto', $5, $5, $5, $5, 'req-1')",
        shop_id, message_id, uuid4(), state, now,
    )  # fmt: skip
    return message_id


def message_letter(runtime: Runtime, shop_id: ShopId, message_id: UUID) -> DeadLetter:
    job = jobs.SendMessage(
        shop_id=shop_id,
        request_id="req-1",
        created_at=runtime.now(),
        contact_id=ContactId(uuid4()),
        message_id=MessageId(message_id),
        provider="mitto",
    )
    return letter(runtime, job, f"send:{message_id}")


async def bury(runtime: Runtime, *letters: DeadLetter) -> None:
    await DeadLetterStore(runtime).add(letters)


async def state_of(rows: asyncpg.Connection, table: str, shop_id: ShopId) -> str:
    return str(await rows.fetchval(f"SELECT state FROM {table} WHERE shop_id = $1", shop_id))


async def actions(rows: asyncpg.Connection) -> list[str]:
    return [row["action"] for row in await rows.fetch("SELECT action FROM audit_log ORDER BY at, id")]


async def test_a_dead_event_is_received_again_and_its_job_is_back(
    runtime: Runtime, rows: asyncpg.Connection, shop_id: ShopId
) -> None:
    event_id = await add_event(rows, shop_id, runtime.now())
    await bury(runtime, event_letter(runtime, shop_id, event_id))
    assert await state_of(rows, "webhook_events", shop_id) == "dead"
    done = await dead_letters.redrive(runtime, f"event:{event_id}", actor="ada")
    assert (done.letters, done.waiting) == (1, 0)
    assert await state_of(rows, "webhook_events", shop_id) == "received"
    assert await state_of(rows, "dead_letters", shop_id) == "redriven"
    assert await actions(rows) == ["dead_letter.redriven"]
    info = await runtime.queue.get_job("events", f"event:{event_id}")
    assert info is not None
    assert (info.state, info.attempts) == (JobState.WAITING, 0)
    with pytest.raises(Refused, match="is redriven already"):
        await dead_letters.redrive(runtime, f"event:{event_id}", actor="ada")


async def test_dead_runs_are_pending_again(runtime: Runtime, rows: asyncpg.Connection, shop_id: ShopId) -> None:
    event_id = uuid4()
    await add_run(rows, shop_id, event_id, runtime.now())
    job = jobs.EvaluateAutomations(
        shop_id=shop_id,
        request_id="req-1",
        created_at=runtime.now(),
        contact_id=None,
        trigger="order_created",
        context=WebhookEventId(event_id),
    )
    await bury(runtime, letter(runtime, job, f"runs:{event_id}"))
    assert await state_of(rows, "runs", shop_id) == "dead"
    await dead_letters.redrive(runtime, f"runs:{event_id}", actor="ada")
    assert await state_of(rows, "runs", shop_id) == "pending"


async def test_a_text_whose_job_died_fails_and_is_planned_again(
    runtime: Runtime, rows: asyncpg.Connection, shop_id: ShopId
) -> None:
    message_id = await add_message(rows, shop_id, "queued", runtime.now())
    await bury(runtime, message_letter(runtime, shop_id, message_id))
    assert await state_of(rows, "messages", shop_id) == "failed"
    assert await rows.fetchval("SELECT kind FROM message_events WHERE message_id = $1", message_id) == "job_died"
    await dead_letters.redrive(runtime, f"send:{message_id}", actor="ada")
    assert await state_of(rows, "messages", shop_id) == "planned"


@pytest.mark.parametrize("state", ["submitting", "unknown", "accepted", "delivered", "refused", "failed"])
async def test_a_text_that_may_have_left_is_never_touched(
    runtime: Runtime, rows: asyncpg.Connection, shop_id: ShopId, state: str
) -> None:
    message_id = await add_message(rows, shop_id, state, runtime.now())
    await bury(runtime, message_letter(runtime, shop_id, message_id))
    await dead_letters.redrive(runtime, f"send:{message_id}", actor="ada")
    assert await state_of(rows, "messages", shop_id) == state


async def test_the_same_death_told_twice_is_one_letter_and_undoes_no_redrive(
    runtime: Runtime, rows: asyncpg.Connection, shop_id: ShopId
) -> None:
    event_id = await add_event(rows, shop_id, runtime.now())
    told = event_letter(runtime, shop_id, event_id)
    await bury(runtime, told, told)
    await dead_letters.redrive(runtime, told.job_id, actor="ada")
    await bury(runtime, told)
    assert await state_of(rows, "webhook_events", shop_id) == "received"
    assert await state_of(rows, "dead_letters", shop_id) == "redriven"
    await bury(runtime, event_letter(runtime, shop_id, event_id, died_at=told.died_at + timedelta(seconds=1)))
    assert await state_of(rows, "webhook_events", shop_id) == "dead"
    assert await rows.fetch("SELECT state, redriven FROM dead_letters") == [("dead", 1)]


async def test_a_job_that_died_of_postgresqls_absence_runs_again_by_itself(
    runtime: Runtime, rows: asyncpg.Connection, shop_id: ShopId
) -> None:
    event_id = await add_event(rows, shop_id, runtime.now())
    await bury(runtime, event_letter(runtime, shop_id, event_id, error="StoreUnavailable"))
    assert await state_of(rows, "webhook_events", shop_id) == "received"
    assert await dead_letters.finish_redrives(runtime) == 1
    assert await runtime.queue.get_job("events", f"event:{event_id}") is not None
    assert await state_of(rows, "dead_letters", shop_id) == "redriven"


async def test_without_redis_a_redrive_waits_and_is_finished_later(
    runtime: Runtime, rows: asyncpg.Connection, shop_id: ShopId
) -> None:
    job = jobs.RunHousekeeping(shop_id=shop_id, request_id="r", created_at=runtime.now(), type="sweep")
    await bury(runtime, letter(runtime, job, "rowless"))
    async with open_client("redis://127.0.0.1:9/0") as nobody:
        done = await dead_letters.redrive(replace(runtime, queue=nobody), "rowless", actor="ada")
    assert (done.letters, done.waiting) == (1, 1)
    assert await state_of(rows, "dead_letters", shop_id) == "redriving"
    assert await dead_letters.finish_redrives(runtime) == 1
    assert await runtime.queue.get_job("housekeeping", "rowless") is not None
    assert await state_of(rows, "dead_letters", shop_id) == "redriven"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        pytest.param({"failure": JobFailure("ValueError", "a\x00b", "t\x00")}, "ab", id="nul in the error"),
        pytest.param(
            {"failure": JobFailure("ValueError", "for +1 202 555 0101", "")}, "for [number]", id="a phone in the error"
        ),
        pytest.param({"shop_id": None}, "no such thing", id="no shop"),
        pytest.param({"shop_id": "nobody"}, "no such thing", id="a shop that is no id"),
        pytest.param({"job_id": "event:nonsense"}, "no such thing", id="an event that is no id"),
        pytest.param({"job_id": "schedule:1:2:3"}, "no such thing", id="a tick that is none"),
        pytest.param({"raw": b"\x00\xff"}, "no such thing", id="bytes that are no job"),
    ],
)
async def test_whatever_died_is_kept(
    runtime: Runtime, rows: asyncpg.Connection, changed: dict[str, Any], error: str
) -> None:
    job = jobs.RunHousekeeping(shop_id=SYSTEM, request_id="r", created_at=runtime.now(), type="sweep")
    odd = letter(runtime, job, "job-1", **changed)
    await bury(runtime, odd, letter(runtime, job, "job-2"))
    assert await rows.fetchval("SELECT error FROM dead_letters WHERE job_id = $1", odd.job_id) == error
    assert await rows.fetchval("SELECT count(*) FROM dead_letters") == 2
    found = await dead_letters.show(runtime, odd.job_id)
    assert (dead_letters.job_data(found) or {}).get("type") in {"sweep", None}


async def seed(runtime: Runtime, shop_id: ShopId) -> None:
    """Four letters: two kinds of error, two queues, an old one."""
    now = runtime.now()
    upkeep = jobs.RunHousekeeping(shop_id=shop_id, request_id="r", created_at=now, type="sweep")
    inbound = jobs.HandleInbound(shop_id=shop_id, request_id="r", created_at=now, event_id=WebhookEventId(uuid4()))
    await bury(
        runtime,
        letter(runtime, upkeep, "a", died_at=now - timedelta(minutes=1)),
        letter(runtime, upkeep, "b", error="Permanent", died_at=now - timedelta(hours=1)),
        letter(runtime, inbound, "c", died_at=now - timedelta(hours=2)),
        letter(runtime, inbound, "d", error="KeyError", died_at=now - timedelta(days=20)),
    )


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        pytest.param({}, "abcd", id="all"),
        pytest.param({"queue": "events"}, "cd", id="queue"),
        pytest.param({"function": "housekeeping:run"}, "ab", id="function"),
        pytest.param({"error_type": "KeyError"}, "d", id="error type"),
        pytest.param({"shop_id": SYSTEM}, "", id="another shop"),
        pytest.param({"failed_before": timedelta(minutes=90)}, "cd", id="older than"),
        pytest.param({"failed_after": timedelta(minutes=90)}, "ab", id="newer than"),
        pytest.param({"state": LetterState.REDRIVEN}, "", id="state"),
        pytest.param({"queue": "events", "error_type": "ValueError"}, "c", id="two at once"),
    ],
)
async def test_filters(runtime: Runtime, shop_id: ShopId, where: dict[str, Any], expected: str) -> None:
    await seed(runtime, shop_id)
    moments: dict[str, Any] = {
        name: runtime.now() - age if isinstance(age, timedelta) else age for name, age in where.items()
    }
    found = await dead_letters.listing(runtime, where=Filter(**moments))
    assert "".join(each.job_id for each in found) == expected


async def test_depths_and_redrive_by_filter(runtime: Runtime, shop_id: ShopId) -> None:
    await seed(runtime, shop_id)
    assert await dead_letters.depths(runtime) == {"housekeeping": 2, "events": 2}
    done = await dead_letters.redrive_matching(runtime, where=Filter(queue="events"), actor="ada")
    assert (done.letters, done.waiting) == (2, 0)
    assert await dead_letters.depths(runtime) == {"housekeeping": 2}
    assert (await dead_letters.redrive_matching(runtime, where=Filter(queue="events"), actor="ada")).letters == 0


@pytest.mark.parametrize(
    ("allowed", "rounds"),
    [pytest.param(0, [0, 0, 0], id="never by default"), pytest.param(2, [2, 2, 0], id="twice each")],
)
async def test_automatic_redrives_have_a_limit_per_letter(
    runtime: Runtime, shop_id: ShopId, allowed: int, rounds: list[int]
) -> None:
    """Of four: `a` failed too lately, `b` permanently; `c` and `d` are run again, and die again."""
    chosen = replace(runtime, settings=replace(runtime.settings, dead_letter_redrives=allowed))
    await seed(runtime, shop_id)
    done = []
    for number in range(3):
        done.append((await dead_letters.redrive_automatically(chosen))["redriven"])
        await runtime.queue.redis.flushdb()
        for old in await dead_letters.listing(runtime, where=Filter(state=LetterState.REDRIVEN)):
            died_at = runtime.now() - timedelta(hours=1, seconds=-number)
            job = jobs.HandleInbound(
                shop_id=shop_id, request_id="r", created_at=runtime.now(), event_id=WebhookEventId(uuid4())
            )
            await bury(runtime, letter(runtime, job, old.job_id, died_at=died_at))
    assert done == rounds


async def test_old_letters_expire_with_a_word(runtime: Runtime, rows: asyncpg.Connection, shop_id: ShopId) -> None:
    await seed(runtime, shop_id)
    assert await dead_letters.expire(runtime) == {"dead_letters": 1}
    assert "".join(each.job_id for each in await dead_letters.listing(runtime)) == "abc"
    (said,) = await rows.fetch("SELECT shop_id, action, entity, details::text FROM audit_log")
    assert (said["shop_id"], said["action"], said["entity"]) == (shop_id, "dead_letter.expired", "d")
    assert "KeyError" in said["details"]


async def test_one_that_is_not_there_is_refused(runtime: Runtime) -> None:
    for ref in ("nothing", str(uuid4())):
        with pytest.raises(Refused, match="none with the id"):
            await dead_letters.redrive(runtime, ref, actor="ada")


async def test_a_job_id_that_two_shops_share_asks_for_the_letters_own(runtime: Runtime) -> None:
    for _ in range(2):
        job = jobs.RunHousekeeping(shop_id=ShopId(uuid4()), request_id="r", created_at=runtime.now(), type="sweep")
        await bury(runtime, letter(runtime, job, "same"))
    with pytest.raises(Refused, match="2 have the job id"):
        await dead_letters.show(runtime, "same")
    async with runtime.store.sweeper() as connection:
        first, _ = await letters_store.by_job(connection, "same")
    assert (await dead_letters.show(runtime, str(first.id))).id == first.id
