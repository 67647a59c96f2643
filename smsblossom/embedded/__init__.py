"""PostgreSQL and Redis as supervised child processes of a local run: real servers, nothing to install by hand.

Every parent death is survived: the servers die with their parent where the platform can do that (Linux), and a next
parent ends what was left behind before it starts its own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from smsblossom.embedded import binaries, places, postgres, processes, redis_server
from smsblossom.embedded.errors import EmbeddedError
from smsblossom.embedded.places import remove

__all__ = ["EmbeddedError", "Servers", "addresses", "remove", "run"]


@dataclass(frozen=True, slots=True)
class Servers:
    """Where to connect. `admin_url` owns the tables, `app_url` is what the service uses."""

    admin_url: str
    app_url: str
    superuser_url: str
    redis_url: str


@asynccontextmanager
async def run(home: Path, *, say: Callable[[str], None]) -> AsyncIterator[Servers]:
    """Run both servers on the files under `home` and restart either one when it dies.

    Ready means that a connection was made. Afterwards no process is left. `say` receives one sentence whenever
    something takes more than two seconds or goes wrong. Raises EmbeddedError when the folder is in use by another
    process, a binary is missing, or a server does not start.
    """
    with places.occupied(home, say) as here:
        found = await asyncio.to_thread(binaries.find, here.account, here.binaries)
        await postgres.make_cluster(found, here, say)
        async with AsyncExitStack() as stack:
            for program in (postgres.program(found, here), redis_server.program(found, here)):
                await stack.enter_async_context(processes.running(program, say))
            await postgres.make_database(here)
            yield _servers(here)


def addresses(home: Path) -> Servers | None:
    """The servers that another process runs on this folder at the moment; None when there are none."""
    work = home / "servers"
    if not work.exists() or not places.is_occupied(home):
        return None
    return _servers(places.Places(work.resolve(), account=None))


def _servers(here: places.Places) -> Servers:
    return Servers(
        admin_url=postgres.url(here, postgres.OWNER),
        app_url=postgres.url(here, postgres.APP),
        superuser_url=postgres.url(here, postgres.SUPERUSER),
        redis_url=redis_server.url(here),
    )
