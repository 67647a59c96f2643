"""P2 and P3: minutes of FLUSHALL, `kill -9`, frozen workers, and PostgreSQL stopped in the middle of commits."""

import secrets

import pytest

from tests.support import figures, once, service

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]


async def test_every_text_leaves_at_most_once_while_workers_die() -> None:
    async with service.running(workers=3, knobs='{"latency_ms": 200}') as started:
        run = await once.endure(
            started, lasting_s=300, orders_per_s=4, pause_s=(1.0, 6.0), thorough=True, seed=secrets.randbits(32)
        )
    figures.tell("once", run.figures())
    assert once.broken_promises(run) == []
