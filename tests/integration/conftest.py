"""A store on the worker's own database, which no service works on."""

from collections.abc import AsyncIterator

import pytest

from smsblossom.store.engine import Store, open_store
from tests.support.servers import Database


@pytest.fixture(scope="session")
async def store(database: Database) -> AsyncIterator[Store]:
    async with open_store(database.app_url, pool_size=12) as opened:
        yield opened
