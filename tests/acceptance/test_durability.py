"""P1, in short: a webhook answered 200 is in PostgreSQL, whoever dies the moment after."""

import secrets

from tests.support import durability, figures, service


async def test_what_was_acknowledged_survives_four_kills() -> None:
    async with service.running() as started:
        run = await durability.survive(started, rounds=4, rate=200, seed=secrets.randbits(32))
    figures.tell("p1_short", run.figures())
    assert run.missing == set()
    assert set(run.load.answers) <= {200, 503, None}
    assert run.in_flight_at_faults > 0


async def test_without_postgresql_it_says_503_and_without_redis_200() -> None:
    async with service.running(workers=1) as started:
        stopped = await durability.refused_without_postgres(started, hung=False, seed=1)
        without_redis = await durability.driven_after_redis(started, seed=2)
    assert set(stopped.answers) == {503}
    assert set(without_redis.answers) == {200}
