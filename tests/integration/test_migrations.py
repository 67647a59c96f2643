"""Up from nothing, down to nothing, up again; and in step with the tables."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from smsblossom.embedded.postgres import OWNER
from smsblossom.store import migrations
from smsblossom.store.tables import metadata
from tests.support.servers import Database, TestServers, with_role


@pytest.fixture
async def empty_database(servers: TestServers) -> AsyncIterator[str]:
    """The owner's address of a database with nothing in it."""
    name = f"{servers.template}_{uuid4().hex}"
    connection = await asyncpg.connect(servers.superuser_url)
    await connection.execute(f'CREATE DATABASE "{name}" OWNER {OWNER}')
    yield with_role(servers.superuser_url, user=OWNER, database=name)
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await connection.close()


async def objects(url: str) -> set[str]:
    """Every relation, policy, type and function of the public schema."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        """
        SELECT relkind::text || ' ' || relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT 'policy ' || policyname FROM pg_policies WHERE schemaname = 'public'
        UNION ALL SELECT 'type ' || typname FROM pg_type WHERE typnamespace = 'public'::regnamespace
        UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        """
    )
    await connection.close()
    return {row[0] for row in rows}


async def test_up_from_nothing_down_to_nothing_and_up_again(empty_database: str) -> None:
    await asyncio.to_thread(migrations.upgrade, empty_database)
    first = await objects(empty_database)
    assert {f"r {name}" for name in metadata.tables} < first
    await asyncio.to_thread(migrations.downgrade, empty_database, "base")
    left = {name for name in await objects(empty_database) if "alembic_version" not in name}
    assert left == set()
    await asyncio.to_thread(migrations.upgrade, empty_database)
    assert await objects(empty_database) == first


async def test_the_migrations_end_where_the_tables_are(fresh_database: Database) -> None:
    assert await asyncio.to_thread(migrations.differences, fresh_database.admin_url) == []


async def test_a_difference_would_be_found(fresh_database: Database) -> None:
    connection = await asyncpg.connect(fresh_database.admin_url)
    await connection.execute("ALTER TABLE orders DROP COLUMN currency")
    await connection.execute("DROP INDEX uq_messages_business_key")
    await connection.close()
    found = await asyncio.to_thread(migrations.differences, fresh_database.admin_url)
    assert "currency" in str(found)
    assert "uq_messages_business_key" in str(found)


async def test_the_database_is_at_the_newest_revision(fresh_database: Database) -> None:
    connection = await asyncpg.connect(fresh_database.app_url)
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == migrations.head()
    await connection.close()
