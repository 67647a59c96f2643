"""Calling the scripts: by digest, with the text only for a server that does not have it."""

from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from smsblossom.queue import scripts


def call_script(client: redis.Redis, name: str, queue: str, arguments: Sequence[Any]) -> Any:
    """`run_script` for a blocking connection."""
    script = scripts.load(name)
    try:
        return client.execute_command("EVALSHA", script.digest, 1, queue, *arguments)  # type: ignore[no-untyped-call]
    except NoScriptError:
        return client.execute_command("EVAL", script.text, 1, queue, *arguments)  # type: ignore[no-untyped-call]


async def run_script(
    redis_client: redis.asyncio.Redis, name: str, keys: Sequence[str], arguments: Sequence[Any]
) -> Any:
    """Run one of lua/*.lua by digest, sending its text only to a server that does not have it."""
    script = scripts.load(name)
    try:
        return await redis_client.execute_command("EVALSHA", script.digest, len(keys), *keys, *arguments)  # type: ignore[no-untyped-call]
    except NoScriptError:
        return await redis_client.execute_command("EVAL", script.text, len(keys), *keys, *arguments)  # type: ignore[no-untyped-call]


async def run_scripts(
    redis_client: redis.asyncio.Redis, calls: Sequence[tuple[str, Sequence[str], Sequence[Any]]]
) -> list[Any]:
    """Several scripts in one round trip. Not a transaction: each script is atomic by itself."""
    if len(calls) == 1:
        name, keys, arguments = calls[0]
        return [await run_script(redis_client, name, keys, arguments)]
    replies = await _pipelined(redis_client, calls)
    if any(isinstance(reply, NoScriptError) for reply in replies):
        # A script that was missing did nothing; one that ran is not run again.
        return [
            await run_script(redis_client, *call) if isinstance(reply, NoScriptError) else reply
            for call, reply in zip(calls, replies, strict=True)
        ]
    return replies


async def _pipelined(
    redis_client: redis.asyncio.Redis, calls: Sequence[tuple[str, Sequence[str], Sequence[Any]]]
) -> list[Any]:
    async with redis_client.pipeline(transaction=False) as pipe:
        for name, keys, arguments in calls:
            pipe.execute_command("EVALSHA", scripts.load(name).digest, len(keys), *keys, *arguments)
        replies = await pipe.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, Exception) and not isinstance(reply, NoScriptError):
            raise reply
    return list(replies)
