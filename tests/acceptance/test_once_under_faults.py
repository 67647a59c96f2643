"""P2 and P3, in short: workers killed and Redis flushed for a while; every text once, or known to be unknown."""

import secrets

from tests.support import figures, once, service


async def test_every_text_leaves_at_most_once_while_workers_die() -> None:
    async with service.running(workers=3, knobs='{"latency_ms": 150}') as started:
        run = await once.endure(
            started, lasting_s=15, orders_per_s=5, pause_s=(0.3, 1.2), thorough=False, seed=secrets.randbits(32)
        )
    figures.tell("once_short", run.figures())
    assert once.broken_promises(run) == []
