"""The audit log: what was done is written down, also when PostgreSQL is away, and nothing personal lies on a disk."""

import asyncio
import stat
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
import structlog.testing

from smsblossom import settings
from smsblossom.bootstrap import Runtime, open_runtime
from smsblossom.domain.ids import SYSTEM, ShopId
from smsblossom.settings import EncryptionKey
from smsblossom.store.audit import AuditEntry
from smsblossom.store.engine import StoreUnavailable, open_store
from smsblossom.usecases import audit
from smsblossom.usecases.audit import Spool
from smsblossom.vault import Vault
from tests.support.queues import until
from tests.support.running import environment
from tests.support.servers import Database

SECRET_DETAIL = "Ada Example of Main Street"


@pytest.fixture
async def rows(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection, which sees everything; the audit log is empty."""
    connection = await asyncpg.connect(database.superuser_url)
    await connection.execute("TRUNCATE audit_log")
    yield connection
    await connection.close()


@pytest.fixture
async def runtime(
    database: Database, redis_url: str, rows: asyncpg.Connection, tmp_path: Path
) -> AsyncIterator[Runtime]:
    environ = {**environment(database, redis_url, "http://127.0.0.1:9", 8080), "AUDIT_SPOOL": str(tmp_path / "spool")}
    async with open_runtime(settings.load(environ), pool_size=3) as runtime:
        yield runtime


@asynccontextmanager
async def without_postgresql(runtime: Runtime) -> AsyncIterator[Runtime]:
    async with open_store("postgresql://smsblossom_app@127.0.0.1:9/none") as nothing:
        yield replace(runtime, store=nothing)


def spooled(runtime: Runtime, pattern: str = "*") -> list[Path]:
    return sorted(runtime.settings.audit_spool.glob(pattern))


async def count(rows: asyncpg.Connection) -> int:
    return int(await rows.fetchval("SELECT count(*) FROM audit_log"))


async def test_a_row_is_written_as_it_was_said(runtime: Runtime, rows: asyncpg.Connection) -> None:
    shop_id = ShopId(uuid4())
    await audit.record(
        runtime,
        actor="ada",
        action="queue.paused",
        shop_id=shop_id,
        entity="events",
        details={"why": "deploy"},
        request_id="req-1",
        ip="192.0.2.1",
    )
    (entry,) = await audit.listing(runtime, limit=10)
    assert (entry.actor, entry.action, entry.shop_id, entry.entity, entry.details, entry.request_id, entry.ip) == (
        "ada", "queue.paused", shop_id, "events", {"why": "deploy"}, "req-1", "192.0.2.1",
    )  # fmt: skip
    assert spooled(runtime) == []
    assert await count(rows) == 1


async def test_without_postgresql_the_action_goes_on_and_the_row_arrives_later(
    runtime: Runtime, rows: asyncpg.Connection
) -> None:
    async with without_postgresql(runtime) as cut_off:
        for number in range(3):
            await audit.record(cut_off, actor="ada", action="queue.paused", details={"n": number, "of": SECRET_DETAIL})
        with pytest.raises(StoreUnavailable):
            await audit.replay(cut_off)
    (file,) = spooled(runtime)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert b"ada" not in file.read_bytes()
    assert SECRET_DETAIL.encode() not in file.read_bytes()
    assert await audit.replay(runtime) == 3
    assert sorted(entry.details["n"] for entry in await audit.listing(runtime, limit=10)) == [0, 1, 2]
    assert spooled(runtime) == []
    assert await audit.replay(runtime) == 0


async def test_a_replay_that_dies_before_its_file_is_gone_doubles_nothing(
    runtime: Runtime, rows: asyncpg.Connection
) -> None:
    async with without_postgresql(runtime) as cut_off:
        await audit.record(cut_off, actor="ada", action="queue.paused")
    (file,) = spooled(runtime)
    content = file.read_bytes()
    await audit.replay(runtime)
    file.write_bytes(content)
    await asyncio.gather(audit.replay(runtime), audit.replay(runtime))
    assert await count(rows) == 1


async def test_torn_and_foreign_lines_are_kept_aside_and_hold_up_nothing(
    runtime: Runtime, rows: asyncpg.Connection
) -> None:
    async with without_postgresql(runtime) as cut_off:
        await audit.record(cut_off, actor="ada", action="first")
        (file,) = spooled(runtime)
        with file.open("ab") as torn:
            torn.write(b"AbCdEfGh")  # a write that a full disk cut short
        await audit.record(cut_off, actor="ada", action="second")
    await audit.replay(runtime)
    assert {entry.action for entry in await audit.listing(runtime, limit=10)} == {"first", "second"}
    (broken,) = spooled(runtime)
    assert broken.suffix == ".broken"
    assert broken.read_bytes().split() == [b"AbCdEfGh"]


async def test_a_row_that_postgresql_will_never_take_holds_up_no_other(
    runtime: Runtime, rows: asyncpg.Connection
) -> None:
    await audit.record(runtime, actor="ada\x00", action="impossible")
    await audit.record(runtime, actor="ada", action="possible")
    assert len(spooled(runtime, "*.spool")) == 1
    with structlog.testing.capture_logs() as told:
        await audit.replay(runtime)
    assert "audit.row_refused" in {line["event"] for line in told}
    assert [entry.action for entry in await audit.listing(runtime, limit=10)] == ["possible"]
    assert [path.suffix for path in spooled(runtime)] == [".broken"]


def test_writers_and_readers_of_one_file_at_once_lose_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Vault([EncryptionKey(1, b"k" * 32)], b"i" * 32))
    entries = [AuditEntry(shop_id=SYSTEM, actor="ada", action="a", at=datetime.now(UTC)) for _ in range(1200)]
    found: list[UUID] = []
    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(spool.append, "one", [entry]) for entry in entries]
        while not all(future.done() for future in writing) or spool.take():
            for path in spool.take():
                rows, broken = spool.read(path)
                spool.finish(path, broken)
                found += [row.id for row in rows]
    assert Counter(found) == Counter(entry.id for entry in entries)


async def test_a_process_brings_its_spool_in_by_itself(runtime: Runtime, rows: asyncpg.Connection) -> None:
    async with without_postgresql(runtime) as cut_off:
        await audit.record(cut_off, actor="ada", action="queue.paused")

    async def is_in() -> bool:
        return await count(rows) == 1

    async with audit.replaying(runtime):
        await until(is_in)


async def test_many_rows_are_one_write_and_none_twice(runtime: Runtime, rows: asyncpg.Connection) -> None:
    entries = [
        AuditEntry(shop_id=ShopId(uuid4()), actor="ada", action="import", at=runtime.now(), entity=str(number))
        for number in range(2500)
    ]
    await audit.record_many(runtime, entries)
    await audit.record_many(runtime, entries[:10])
    await audit.replay(runtime)
    assert await count(rows) == 2500


def entry(action: str, actor: str, at: datetime, shop_id: ShopId = SYSTEM) -> AuditEntry:
    return AuditEntry(shop_id=shop_id, actor=actor, action=action, at=at)


async def test_the_report_counts_by_action_and_actor_over_a_span(runtime: Runtime) -> None:
    now, shop_id = runtime.now(), ShopId(uuid4())
    days = [entry("shop.added", "ada", now - timedelta(days=n), shop_id) for n in range(4)]
    await audit.record_many(runtime, [*days, entry("shop.added", "bob", now), entry("sending.stopped", "ada", now)])
    tallies = await audit.report(runtime, since=now - timedelta(days=2), until=now + timedelta(seconds=1))
    assert [(tally.action, tally.actor, tally.count) for tally in tallies] == [
        ("shop.added", "ada", 3),
        ("sending.stopped", "ada", 1),
        ("shop.added", "bob", 1),
    ]
    assert tallies[0].first_at == now - timedelta(days=2)
    (of_shop,) = await audit.report(runtime, shop_id=shop_id)
    assert of_shop.count == 4


async def test_rows_past_their_time_go_and_a_row_says_so(runtime: Runtime) -> None:
    now = runtime.now()
    ages = (timedelta(days=400), timedelta(days=366), timedelta(days=364))
    await audit.record_many(runtime, [entry("shop.added", "ada", now - age) for age in ages])
    assert await audit.clean(runtime) == {"audit_rows": 2}
    left = await audit.listing(runtime, limit=10)
    assert [(row.action, row.details.get("rows")) for row in left] == [(audit.CLEANED, 2), ("shop.added", None)]
    assert await audit.clean(runtime) == {"audit_rows": 0}


async def test_the_log_is_append_only_for_the_app(runtime: Runtime, database: Database) -> None:
    await audit.record(runtime, actor="ada", action="shop.added")
    app = await asyncpg.connect(database.app_url)
    try:
        for statement in ("UPDATE audit_log SET actor = 'eve'", "DELETE FROM audit_log"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await app.execute(statement)
    finally:
        await app.close()
