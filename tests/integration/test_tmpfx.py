import asyncpg, pytest, os, asyncio
from redis.asyncio import Redis
@pytest.mark.parametrize("n", range(4))
async def test_a(database, redis_url, n):
    c = await asyncpg.connect(database.app_url)
    assert "smsblossom_app" == await c.fetchval("select current_user")
    await c.close()
    async with Redis.from_url(redis_url) as r:
        assert await r.dbsize() == 0
        await r.set("a", 1)
    if os.environ.get("HANG"): await asyncio.sleep(60)
async def test_b(fresh_database):
    c = await asyncpg.connect(fresh_database.admin_url)
    await c.close()
