"""Servers, databases and Redis for tests: real ones.

`TEST_DATABASE_URL` (a superuser's) and `TEST_REDIS_URL` name servers to use; without them one embedded pair serves
the whole run. Nothing is started before a test asks for it.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis

from tests.support import servers as support
from tests.support.servers import Database, TestServers

# A busy machine is no fault of a property: only what is false fails, never what is slow.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

_FOLDER = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[_FOLDER] = support.make_run_folder()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """xdist: tell each worker where the run's folder is and who the main process is."""
    node.workerinput["smsblossom_folder"] = str(node.config.stash[_FOLDER])
    node.workerinput["smsblossom_main_process"] = os.getpid()


def pytest_unconfigure(config: pytest.Config) -> None:
    if _FOLDER in config.stash:
        support.release(config.stash[_FOLDER])


@pytest.fixture(scope="session")
def worker_number(request: pytest.FixtureRequest) -> int:
    """0, or the number of this xdist worker."""
    worker: dict[str, Any] = getattr(request.config, "workerinput", {})
    return int(str(worker.get("workerid", "gw0")).removeprefix("gw"))


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> TestServers:
    """The run's PostgreSQL and Redis, with the migrated template database."""
    worker: dict[str, Any] | None = getattr(request.config, "workerinput", None)
    return support.obtain(
        Path(worker["smsblossom_folder"]) if worker else request.config.stash[_FOLDER],
        main_process=worker["smsblossom_main_process"] if worker else os.getpid(),
        superuser_url=os.environ.get("TEST_DATABASE_URL"),  # noqa: TID251  a choice of the test run, not a setting
        redis_url=os.environ.get("TEST_REDIS_URL"),  # noqa: TID251
    )


@pytest.fixture(scope="session")
async def database(servers: TestServers, worker_number: int) -> AsyncIterator[Database]:
    """This worker's own migrated database; its tests share it, so that each takes a shop of its own."""
    made = await support.clone(servers, f"{servers.template}_{worker_number}")
    yield made
    await support.drop(servers, made)


@pytest.fixture
async def fresh_database(servers: TestServers) -> AsyncIterator[Database]:
    """A migrated database for one test alone."""
    made = await support.clone(servers, f"{servers.template}_{uuid4().hex}")
    yield made
    await support.drop(servers, made)


@pytest.fixture
async def redis_url(servers: TestServers, worker_number: int) -> str:
    """This worker's own Redis database, empty."""
    url = support.redis_database(servers.redis_url, worker_number)
    async with Redis.from_url(url) as client:
        await client.flushdb()
    return url
