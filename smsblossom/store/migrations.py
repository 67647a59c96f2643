"""Bring a database to a revision, and tell which one it is at. Runs as the owner role, outside any event loop."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

import smsblossom
from smsblossom.store.engine import async_url
from smsblossom.store.tables import metadata


def folder() -> Path:
    """The migrations: inside an installed wheel, or beside the package in a checkout."""
    package = Path(smsblossom.__file__).parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def upgrade(admin_url: str, revision: str = "head") -> None:
    _with_connection(admin_url, lambda config: command.upgrade(config, revision))


def downgrade(admin_url: str, revision: str) -> None:
    _with_connection(admin_url, lambda config: command.downgrade(config, revision))


def head() -> str:
    """The newest revision this release knows."""
    with _importable():
        found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None
    return found


def differences(admin_url: str) -> list[object]:
    """What a new migration would have to change for the database to equal `tables`; empty when they agree."""
    found: list[object] = []

    def compare(connection: Connection) -> None:
        options = {"compare_type": True, "compare_server_default": True}
        found.extend(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    asyncio.run(_run(admin_url, compare))
    return found


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    return config


def _with_connection(admin_url: str, work: Callable[[Config], None]) -> None:
    def run(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        work(config)

    with _importable():
        asyncio.run(_run(admin_url, run))


@contextmanager
def _importable() -> Iterator[None]:
    """The versions import row_security, which lies beside them."""
    here = str(folder())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


async def _run(admin_url: str, work: Callable[[Connection], None]) -> None:
    engine = create_async_engine(async_url(admin_url), poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(work)
            await connection.commit()
    finally:
        await engine.dispose()
