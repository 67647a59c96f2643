"""P1: 20 kills under load; and how soon a service without its servers says so."""

import secrets

import pytest

from tests.support import durability, figures, service
from tests.support.durability import Load

pytestmark = [pytest.mark.proof, pytest.mark.timeout(1800)]


async def test_what_was_acknowledged_survives_twenty_kills() -> None:
    async with service.running() as started:
        run = await durability.survive(started, rounds=20, rate=400, seed=secrets.randbits(32))
    figures.tell("p1", run.figures())
    assert run.missing == set()
    assert set(run.load.answers) <= {200, 503, None}


async def test_without_its_servers_it_answers_within_a_second() -> None:
    async with service.running(workers=1) as started:
        stopped = await durability.refused_without_postgres(started, hung=False, seed=1)
        hung = await durability.refused_without_postgres(started, hung=True, seed=2)
        without_redis = await durability.driven_after_redis(started, seed=3)
    waits = {
        "slowest_503_stopped_s": slowest(stopped),
        "slowest_503_hung_s": slowest(hung),
        "slowest_200_without_redis_s": slowest(without_redis),
    }
    figures.tell("p1", waits)
    assert set(stopped.answers) == set(hung.answers) == {503}
    assert set(without_redis.answers) == {200}


def slowest(load: Load) -> float:
    return round(max(load.slowest_s.values()), 3)
