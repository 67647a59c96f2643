"""Connections and transactions. Every transaction names the shops it is for; row-level security holds it to that."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from smsblossom.domain.ids import ShopId


class StoreUnavailable(Exception):  # noqa: N818 - a state of the world
    """PostgreSQL cannot be reached or is going away; what was asked may be tried again."""


class UnsafeRole(Exception):  # noqa: N818
    """The app connects as a role that row-level security does not hold."""


Connection = AsyncConnection
"""An open transaction, as use cases pass it on."""

_SCOPE = text("SELECT set_config('app.shop_ids', :shop_ids, true)")
_SWEEPER = text("SET LOCAL ROLE smsblossom_sweeper")


def async_url(url: str) -> str:
    """The same address for SQLAlchemy's asyncpg dialect."""
    return make_url(url).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


class Store:
    """Transactions on PostgreSQL, as the app role or as the sweeper."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def transaction(self, *shops: ShopId) -> AsyncIterator[AsyncConnection]:
        """One transaction that sees these shops and no other; committed at the end, rolled back on an exception.

        Raises:
            StoreUnavailable: no connection, or it was lost on the way.

        """
        with _translated():
            async with self._engine.begin() as connection:
                await connection.execute(_SCOPE, {"shop_ids": ",".join(map(str, shops))})
                yield connection

    @asynccontextmanager
    async def sweeper(self) -> AsyncIterator[AsyncConnection]:
        """One transaction across all shops, by the sweeper's explicit policies. For the sweeper and for routing."""
        with _translated():
            async with self._engine.begin() as connection:
                await connection.execute(_SWEEPER)
                yield connection

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[asyncpg.Connection]:
        """The driver's own connection outside a transaction: each statement is one by itself, in one round trip.

        For the one path where round trips count; the statement must set `app.shop_ids` before it touches a table.

        Raises:
            StoreUnavailable: no connection, or it was lost on the way.

        """
        with _translated():
            async with self._engine.connect() as connection:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                try:
                    yield driver
                finally:
                    if driver.is_closed():
                        await connection.invalidate()

    async def refuse_unsafe_role(self) -> None:
        """Raise UnsafeRole when row-level security would not hold the role we are connected as."""
        async with self.transaction() as connection:
            role = (
                await connection.execute(
                    text("SELECT rolname, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
                )
            ).one()
            if role[1]:
                raise UnsafeRole(
                    f"DATABASE_URL connects as {role[0]!r}, a superuser or BYPASSRLS role; use smsblossom_app"
                )

    async def ping(self) -> None:
        async with self.transaction():
            pass


@asynccontextmanager
async def open_store(url: str, *, pool_size: int = 10, command_timeout_s: float = 30.0) -> AsyncIterator[Store]:
    engine = create_async_engine(
        async_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_use_lifo=True,
        hide_parameters=True,  # an error's text must not quote what was written
        connect_args={"command_timeout": command_timeout_s, "timeout": 5},
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
    )
    try:
        yield Store(engine)
    finally:
        await engine.dispose()


class _translated:  # noqa: N801 - reads as a word in `with _translated():`
    """Errors that mean "the database is not there" become StoreUnavailable; all others pass."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OperationalError, InterfaceError, PoolTimeout, OSError, TimeoutError)):
            raise StoreUnavailable(type(error).__name__) from error
        if isinstance(error, DBAPIError) and (error.connection_invalidated or _is_shutdown(error.orig)):
            raise StoreUnavailable(type(error).__name__) from error
        if isinstance(error, asyncpg.PostgresError) and _is_shutdown(error):
            raise StoreUnavailable(type(error).__name__) from error
        # A value that the driver cannot encode is an InterfaceError too, and no sign of a lost connection.
        if isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError):
            raise StoreUnavailable(type(error).__name__) from error


def _is_shutdown(error: BaseException | None) -> bool:
    """Class 57P (operator intervention) and 53 (insufficient resources) of PostgreSQL's error codes."""
    code = str(getattr(error, "sqlstate", "") or "")
    return code.startswith(("57P", "53", "08"))
