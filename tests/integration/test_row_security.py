"""The second wall: no shop's rows show to another's transaction, in any tenant table there is or will be."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    Numeric,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from smsblossom.domain.ids import SYSTEM
from smsblossom.store.engine import UnsafeRole, open_store
from smsblossom.store.tables import APPEND_ONLY, WITHOUT_RLS, metadata, tenant_column
from tests.support.servers import Database

TENANT_TABLES = [table for table in metadata.sorted_tables if table.name not in WITHOUT_RLS]
EACH = pytest.mark.parametrize("table", [pytest.param(table, id=table.name) for table in TENANT_TABLES])
NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture(scope="module")
async def superuser(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.superuser_url)
    yield connection
    await connection.close()


@pytest.fixture
async def app(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """The app role, in a transaction of its own that ends with the test."""
    connection = await asyncpg.connect(database.app_url)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


@pytest.fixture(scope="module")
async def two_shops(superuser: asyncpg.Connection) -> tuple[UUID, UUID]:
    """Two new shops with a row in every tenant table."""
    pair = uuid4(), uuid4()
    for table in TENANT_TABLES:
        for shop_id in pair:
            await superuser.execute(*insert(table, shop_id))
    return pair


def insert(table: Table, shop_id: UUID) -> tuple[Any, ...]:
    """A statement and its arguments: a row of this shop, whatever columns the table has."""
    values = {column.name: value_for(column) for column in table.columns if not column.nullable}
    values[tenant_column(table)] = shop_id
    places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
    return f"INSERT INTO {table.name} ({', '.join(values)}) VALUES ({places})", *values.values()


def value_for(column: Column[Any]) -> Any:
    """Any valid value of the column's type, different at each call where the type allows."""
    fresh = uuid4()
    match column.type:
        case Text():
            return allowed_word(column) or fresh.hex
        case Uuid():
            return fresh
        case DateTime():
            return NOW
        case Boolean():
            return True
        case BigInteger():
            return fresh.int % 2**62
        case Integer():
            return 1
        case Numeric():
            return Decimal(1)
        case LargeBinary():
            return fresh.bytes
        case JSONB():
            return "{}"
        case ARRAY():
            return []
        case other:
            raise AssertionError(f"{column.table.name}.{column.name}: teach value_for the type {other!r}")


def allowed_word(column: Column[Any]) -> str | None:
    """The first word that a check constraint of the form `column IN ('word', …)` lets the column hold."""
    checks = (str(each.sqltext) for each in column.table.constraints if isinstance(each, CheckConstraint))
    words = (re.match(rf"{column.name} IN \('(\w+)'", check) for check in checks)
    return next((found[1] for found in words if found), None)


async def scope(app: asyncpg.Connection, *shop_ids: UUID) -> None:
    await app.execute("SELECT set_config('app.shop_ids', $1, true)", ",".join(map(str, shop_ids)))


async def shops_seen(app: asyncpg.Connection, table: Table) -> set[UUID]:
    rows = await app.fetch(f"SELECT DISTINCT {tenant_column(table)} AS shop_id FROM {table.name}")
    return {row["shop_id"] for row in rows} - ({SYSTEM} if table.name == "controls" else set())


def test_every_table_is_either_a_tenants_or_named_as_shared() -> None:
    assert frozenset({"routes", "workers", "alembic_version"}) == WITHOUT_RLS
    assert {table.name for table in metadata.sorted_tables if "shop_id" not in table.c} == {"shops", "workers"}
    for table in TENANT_TABLES:
        first = next(iter(table.primary_key.columns)).name
        assert first == tenant_column(table), f"{table.name}: the shop comes first in its key"


async def test_the_database_has_the_same_tables_each_with_its_two_policies(superuser: asyncpg.Connection) -> None:
    rows = await superuser.fetch(
        """
        SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, pg_get_userbyid(c.relowner) AS owner,
               coalesce(array_agg(p.policyname ORDER BY p.policyname) FILTER (WHERE p.policyname IS NOT NULL), '{}')
                   AS policies
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_policies p ON p.schemaname = n.nspname AND p.tablename = c.relname
        WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')
        GROUP BY c.oid, c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relowner
        """
    )
    assert {row["relname"] for row in rows} == {*metadata.tables, "alembic_version"}
    for row in rows:
        name, has = row["relname"], (row["relrowsecurity"], row["relforcerowsecurity"])
        assert row["owner"] == "smsblossom_owner"
        if name in WITHOUT_RLS:
            assert (has, row["policies"]) == ((False, False), [])
        else:
            assert (name, has) == (name, (True, True))
            assert set(row["policies"]) - {"controls_system"} == {f"{name}_app", f"{name}_sweeper"}


async def test_a_policy_names_its_role_and_covers_every_command(superuser: asyncpg.Connection) -> None:
    rows = await superuser.fetch("SELECT policyname, roles, cmd, permissive FROM pg_policies")
    for row in rows:
        role = "smsblossom_sweeper" if row["policyname"].endswith("_sweeper") else "smsblossom_app"
        command = "SELECT" if row["policyname"] == "controls_system" else "ALL"
        assert (row["policyname"], row["roles"], row["cmd"]) == (row["policyname"], [role], command)


@EACH
async def test_a_transaction_sees_its_own_shops_and_no_other(
    app: asyncpg.Connection, two_shops: tuple[UUID, UUID], table: Table
) -> None:
    one, other = two_shops
    await scope(app, one)
    assert await shops_seen(app, table) == {one}
    await scope(app, other)
    assert await shops_seen(app, table) == {other}
    await scope(app, one, other)
    assert await shops_seen(app, table) == {one, other}


@EACH
async def test_a_transaction_that_names_no_shop_sees_nothing(
    app: asyncpg.Connection, two_shops: tuple[UUID, UUID], table: Table
) -> None:
    assert await shops_seen(app, table) == set()
    await scope(app)
    assert await shops_seen(app, table) == set()


@EACH
async def test_another_shops_rows_cannot_be_changed_or_deleted(
    app: asyncpg.Connection, two_shops: tuple[UUID, UUID], table: Table
) -> None:
    one, other = two_shops
    await scope(app, one)
    column = tenant_column(table)
    for statement in (f"UPDATE {table.name} SET {column} = {column}", f"DELETE FROM {table.name}"):
        work = app.transaction()
        await work.start()
        if table.name in APPEND_ONLY:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await app.execute(f"{statement} WHERE {column} = $1", other)
        else:
            assert (await app.execute(f"{statement} WHERE {column} = $1", other)).endswith(" 0")
        await work.rollback()


@EACH
async def test_a_row_for_another_shop_is_refused(
    app: asyncpg.Connection, two_shops: tuple[UUID, UUID], table: Table
) -> None:
    one, other = two_shops
    own = uuid4() if table.name == "shops" else one  # a shop's own row is there already
    await scope(app, own)
    await app.execute(*insert(table, own))
    foreign = uuid4() if table.name == "shops" else other
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with app.transaction():
            await app.execute(*insert(table, foreign))


@EACH
async def test_a_row_cannot_be_moved_to_another_shop(
    app: asyncpg.Connection, two_shops: tuple[UUID, UUID], table: Table
) -> None:
    one, other = two_shops
    await scope(app, one)
    foreign = uuid4() if table.name == "shops" else other
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute(f"UPDATE {table.name} SET {tenant_column(table)} = $1", foreign)


@pytest.mark.parametrize("name", sorted(APPEND_ONLY))
@pytest.mark.parametrize("statement", ["UPDATE {} SET shop_id = shop_id", "DELETE FROM {}", "TRUNCATE {}"])
async def test_the_app_cannot_change_what_is_append_only(
    app: asyncpg.Connection, two_shops: tuple[UUID, UUID], name: str, statement: str
) -> None:
    await scope(app, two_shops[0])
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute(statement.format(name))


@EACH
async def test_the_sweeper_sees_all_and_the_app_must_become_it(
    app: asyncpg.Connection, two_shops: tuple[UUID, UUID], table: Table
) -> None:
    await app.execute("SET LOCAL ROLE smsblossom_sweeper")
    assert await shops_seen(app, table) >= set(two_shops)


async def test_every_shop_reads_the_systems_switches_and_writes_none(
    app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await superuser.execute(
        "INSERT INTO controls (shop_id, name, value, set_at, set_by) VALUES ($1, $2, 'x', $3, 'test')",
        SYSTEM,
        f"probe-{uuid4().hex}",
        NOW,
    )
    await scope(app, uuid4())
    assert await app.fetchval("SELECT count(*) FROM controls WHERE shop_id = $1", SYSTEM) > 0
    assert await app.execute("UPDATE controls SET value = 'y'") == "UPDATE 0"


@pytest.mark.parametrize("attribute", ["SUPERUSER", "BYPASSRLS"])
async def test_the_start_refuses_a_role_that_row_security_does_not_hold(
    database: Database, superuser: asyncpg.Connection, attribute: str
) -> None:
    role = f"unsafe_{uuid4().hex}"
    await superuser.execute(f"CREATE ROLE {role} {attribute}")
    try:
        async with open_store(database.superuser_url) as store:
            with pytest.raises(UnsafeRole, match="smsblossom_app"):
                await store.refuse_unsafe_role()
        await superuser.execute(f"ALTER ROLE {role} LOGIN; GRANT USAGE ON SCHEMA public TO {role}")
        async with open_store(as_role(database, role)) as store:
            with pytest.raises(UnsafeRole, match=role):
                await store.refuse_unsafe_role()
    finally:
        await superuser.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def as_role(database: Database, role: str) -> str:
    from tests.support.servers import with_role

    return with_role(database.superuser_url, user=role, database=database.name)


async def test_the_start_takes_the_app_role(database: Database) -> None:
    async with open_store(database.app_url) as store:
        await store.refuse_unsafe_role()
