"""Calling the scripts: by digest, with the text only for a server that does not have it."""

from collections.abc import Sequence
from typing import Any, Protocol

import redis
from redis.exceptions import NoScriptError

from smsblossom.queue import scripts


class Caller(Protocol):
    """A redis-py client, or a Link."""

    async def execute_command(self, *command: Any) -> Any: ...


def call_script(client: redis.Redis, name: str, queue: str, arguments: Sequence[Any]) -> Any:
    """`run_script` for a blocking connection."""
    script = scripts.load(name)
    try:
        return client.execute_command("EVALSHA", script.digest, 1, queue, *arguments)  # type: ignore[no-untyped-call]
    except NoScriptError:
        return client.execute_command("EVAL", script.text, 1, queue, *arguments)  # type: ignore[no-untyped-call]


async def run_script(caller: Caller, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
    """Run one of lua/*.lua by digest, sending its text only to a server that does not have it."""
    script = scripts.load(name)
    try:
        return await caller.execute_command("EVALSHA", script.digest, len(keys), *keys, *arguments)
    except NoScriptError:
        return await caller.execute_command("EVAL", script.text, len(keys), *keys, *arguments)
