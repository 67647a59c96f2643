"""What an operator wants to know of the PostgreSQL server itself."""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class ServerFacts(msgspec.Struct, frozen=True):
    """`version_num` as PostgreSQL counts (150004 is 15.4); `revision` None where no migration ever ran."""

    version_num: int
    version: str
    role: str
    unsafe: bool
    clock_at: datetime
    durable: bool
    """fsync, synchronous_commit and full_page_writes: what an answered webhook rests on."""
    has_tables: bool


_FACTS = text(
    """
    SELECT current_setting('server_version_num')::int AS version_num,
           current_setting('server_version') AS version,
           current_user::text AS role,
           (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user) AS unsafe,
           clock_timestamp() AS clock_at,
           current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on'
               AND current_setting('synchronous_commit') <> 'off' AS durable,
           to_regclass('alembic_version') IS NOT NULL AS has_tables
    """
)
_REVISION = text("SELECT version_num FROM alembic_version")


async def server_facts(connection: AsyncConnection) -> ServerFacts:
    return msgspec.convert((await connection.execute(_FACTS)).one()._asdict(), ServerFacts)


async def revision(connection: AsyncConnection) -> str | None:
    """The migration that the tables are at."""
    found: str | None = (await connection.execute(_REVISION)).scalar_one_or_none()
    return found
