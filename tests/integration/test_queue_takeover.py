"""Jobs of a killed worker are taken over, whatever the others know of the Redis server they talk to."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from time import monotonic

import msgspec
import pytest
from redis.asyncio import Redis

from smsblossom import jobs
from smsblossom.domain.ids import WebhookEventId, shop_id_of
from smsblossom.jobs import QueueName
from smsblossom.queue import keys
from smsblossom.queue.calls import run_script
from smsblossom.queue.client import open_client
from smsblossom.queue.jobinfo import head_start_ms
from smsblossom.queue.turn import Endings, TurnPlan, read_reply
from smsblossom.store.ids import new_id

QUEUE = QueueName.EVENTS
LEASE_MS, GRACE_MS = 50, 3000
WITHIN_S = 30.0


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client, open_client(redis_url) as queue:
        now = datetime.now(UTC)
        shop_id = shop_id_of("takeover.myshopify.com")
        await queue.add(
            jobs.ProcessEvent(
                shop_id=shop_id, request_id="request", created_at=now, event_id=WebhookEventId(new_id()), topic="any"
            ),
            job_id="orphan",
        )
        yield client


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param(("",), id="nobody has asked which server this is"),
        pytest.param(("abc",), id="everybody has"),
        pytest.param(("", "abc"), id="one has lost its connection and asked, one never did"),
    ],
)
async def test_an_orphan_is_taken_over_once_the_grace_is_past(redis: Redis, runs: Sequence[str]) -> None:
    assert await claimed(redis, "killed", run="") == ["orphan"]
    until, dice = monotonic() + WITHIN_S, random.Random(7)
    while True:
        run = dice.choice(runs)
        if await claimed(redis, f"living-{run}", run=run):
            return
        assert monotonic() < until, "nobody may take it"
        await asyncio.sleep(0.02)


async def claimed(redis: Redis, worker: str, *, run: str) -> list[str]:
    """One turn of this worker, which may have asked which run of the server this is; the jobs it got."""
    if run:
        await run_script(redis, "meet", [keys.GUARD], [run, GRACE_MS])
    plan = TurnPlan(
        worker=worker,
        want=1,
        general=1,
        lease=LEASE_MS,
        budget=100,
        head=head_start_ms("normal"),
        keep=0,
        counts=True,
        aborts=False,
        guard=keys.GUARD,
        groups={},
    )
    reply = read_reply(await run_script(redis, "cycle", [QUEUE], Endings().arguments(msgspec.msgpack.encode(plan))))
    return [job[0] for job in reply.jobs]
