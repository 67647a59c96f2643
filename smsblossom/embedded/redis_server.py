"""Redis as a child process: wake-ups, leases and rate tokens. It may be lost without harm, but need not be."""

import signal

from redis.asyncio import Redis
from redis.exceptions import RedisError

from smsblossom.embedded.binaries import Binaries
from smsblossom.embedded.places import Places
from smsblossom.embedded.processes import Program

_SOCKET = "redis.sock"
_CONNECT_WITHIN = 5.0


def url(places: Places) -> str:
    return f"unix://{places.sockets / _SOCKET}"


def program(binaries: Binaries, places: Places) -> Program:
    settings = {
        "port": "0",
        "unixsocket": str(places.sockets / _SOCKET),
        "unixsocketperm": "700",
        "dir": str(places.redis),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",  # the append-only file has everything; snapshots would fork for nothing
        "maxmemory-policy": "noeviction",
        "databases": "64",  # one per test worker
        "daemonize": "no",
        "set-proc-title": "no",  # the command line is how a left-over server is recognised
    }

    async def answers() -> bool:
        try:
            async with Redis.from_url(url(places), socket_timeout=_CONNECT_WITHIN) as client:
                return bool(await client.ping())
        except (OSError, RedisError):  # also while it loads its file
            return False

    return Program(
        name="Redis",
        command=(str(binaries.redis), *(word for name, value in settings.items() for word in (f"--{name}", value))),
        data=places.redis,
        pid_file=places.pid_file("redis"),
        log=places.log("redis"),
        account=places.account,
        stop=((signal.SIGTERM, 10.0),),
        answers=answers,
    )
