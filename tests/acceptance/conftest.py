"""One service per xdist worker, on a database and a Redis database of its own."""

from collections.abc import AsyncIterator

import pytest

from tests.support import servers as support
from tests.support.running import Service, Shop, running
from tests.support.servers import TestServers


@pytest.fixture(scope="session")
async def service(servers: TestServers, worker_number: int) -> AsyncIterator[Service]:
    """The shared service. Sixteen Redis databases: tests without a service count from 0, services from 15 down."""
    database = await support.clone(servers, f"{servers.template}_service_{worker_number}")
    redis_url = support.redis_database(servers.redis_url, 15 - worker_number)
    try:
        async with running(database, redis_url) as started:
            yield started
    finally:
        await support.drop(servers, database)


@pytest.fixture
async def shop(service: Service) -> Shop:
    """A shop of this test alone."""
    return await service.new_shop()
