"""Hands dead jobs from Redis to the dead letters, and forgets them in Redis only then."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import redis.asyncio
import structlog

from smsblossom.jobs import QueueName
from smsblossom.queue import codec, keys
from smsblossom.queue.calls import run_script
from smsblossom.queue.dead_letters import DeadLetter, DeadLetters
from smsblossom.queue.engine import SURVIVABLE
from smsblossom.queue.jobinfo import moment

_PAGE = 100


class Undertaker:
    """Looks every second. Several may run at once: a letter may be added twice and is buried once."""

    def __init__(
        self, redis_client: redis.asyncio.Redis, queues: Sequence[QueueName], dead_letters: DeadLetters
    ) -> None:
        self._redis = redis_client
        self._queues = queues
        self._dead_letters = dead_letters

    async def run(self) -> None:
        """For ever; an error is logged and the letters are offered again."""
        while True:
            full = False
            for queue in self._queues:
                try:
                    full = await self.bury(queue) == _PAGE or full
                except SURVIVABLE:
                    pass
                except Exception:  # noqa: BLE001 - whatever the letters' keeper raises, the job stays where it is
                    structlog.get_logger("smsblossom.queue").exception("dead_letters.failed", queue=queue.value)
            await asyncio.sleep(0 if full else 1)

    async def bury(self, queue: QueueName) -> int:
        """Hand over the oldest dead jobs of one queue. Returns how many."""
        entries = await self._redis.zrange(keys.dead(queue), 0, _PAGE - 1, withscores=True)
        if not entries:
            return 0
        async with self._redis.pipeline(transaction=False) as pipe:
            for job_id, _ in entries:
                pipe.hgetall(keys.DEAD + job_id.decode())
            rows = await pipe.execute()
        letters = [
            letter_of(queue, job_id.decode(), fields)
            for (job_id, _), fields in zip(entries, rows, strict=True)
            if fields
        ]
        await self._dead_letters.add(letters)
        arguments: list[Any] = []
        for job_id, score in entries:
            arguments += (job_id, int(score))
        await run_script(self._redis, "bury", [queue], arguments)
        return len(entries)


def letter_of(queue: str, job_id: str, fields: dict[bytes, bytes]) -> DeadLetter:
    """The dead job as it was kept in Redis."""
    raw = fields[b"job"]
    job = _readable(raw)
    args = job.get("a") or [None]
    data = args[0]
    envelope = data if isinstance(data, dict) else {}
    tag = fields[b"tag"].decode()
    return DeadLetter(
        job_id=job_id,
        queue=queue,
        function=job.get("f", ""),
        data=data,
        raw=raw,
        failure=msgspec.msgpack.decode(fields[b"failure"], type=codec.JobFailure),
        attempts=int(fields[b"attempts"]),
        stalls=int(fields[b"stalls"]),
        first_failed_at=_moment(fields[b"first_failed"]),
        died_at=_moment(fields[b"last_failed"]),
        shop_id=envelope.get("shop_id"),
        request_id=envelope.get("request_id"),
        priority=job.get("p"),
        group=(tag.split(";", 2)[2] or None) if tag else None,
    )


def _readable(raw: bytes) -> dict[str, Any]:
    try:
        return codec.loads(raw)
    except (msgspec.DecodeError, AttributeError):
        return {}


def _moment(ms: bytes) -> Any:
    return moment(ms)
