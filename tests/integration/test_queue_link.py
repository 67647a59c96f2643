"""The pipelined connection: it logs in, keeps calls and replies together, and never hangs."""

import asyncio
import time
from pathlib import Path

import pytest
import redis
from redis.exceptions import AuthenticationError, ConnectionError, NoScriptError, TimeoutError  # noqa: A004

from smsblossom.queue.client import open_client
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.queue.link import Link
from tests.support.queues import make_job, own_redis, until


@pytest.fixture
async def link(redis_url: str):
    opened = Link(redis_url, connect_s=1, answer_s=1)
    yield opened
    await opened.aclose()


async def test_replies_come_to_the_calls_they_belong_to(link: Link):
    replies = await asyncio.gather(*(link.execute_command("ECHO", f"{i}") for i in range(1_000)))
    assert replies == [f"{i}".encode() for i in range(1_000)]


async def test_an_error_reply_harms_no_neighbour(link: Link):
    replies = await asyncio.gather(
        link.execute_command("ECHO", "a"),
        link.execute_command("EVALSHA", "0" * 40, 0),
        link.execute_command("ECHO", "b"),
        return_exceptions=True,
    )
    assert (replies[0], replies[2]) == (b"a", b"b")
    assert isinstance(replies[1], NoScriptError)


async def test_a_caller_that_goes_away_leaves_the_others_in_order(link: Link):
    await link.execute_command("PING")
    gone = asyncio.ensure_future(link.execute_command("ECHO", "gone"))
    await asyncio.sleep(0)
    gone.cancel()
    assert await link.execute_command("ECHO", "stays") == b"stays"


async def test_a_lost_connection_fails_what_is_under_way_and_is_made_again(tmp_path: Path):
    with own_redis(tmp_path) as server:
        link = Link(server.url, connect_s=1, answer_s=5)
        await link.execute_command("PING")
        server.pause()
        under_way = asyncio.ensure_future(link.execute_command("PING"))
        await asyncio.sleep(0.05)
        server.kill()
        with pytest.raises(ConnectionError):
            await under_way
        with pytest.raises(ConnectionError):
            await link.execute_command("PING")
        server.start()
        assert await link.execute_command("PING") == b"PONG"
        await link.aclose()


async def test_password_user_and_database_of_the_address_are_used(tmp_path: Path):
    with own_redis(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            client.execute_command("ACL", "SETUSER", "worker", "on", ">secret", "~*", "+@all")
            client.config_set("requirepass", "other")
        named = Link(f"redis://worker:secret@127.0.0.1:{server.port}/3", connect_s=1, answer_s=1)
        await named.execute_command("SET", "here", "1")
        await named.aclose()
        with redis.Redis(port=server.port, password="other", db=3) as client:
            assert client.get("here") == b"1"
        stranger = Link(f"redis://worker:wrong@127.0.0.1:{server.port}/3", connect_s=1, answer_s=1)
        with pytest.raises(AuthenticationError):
            await stranger.execute_command("PING")
        await stranger.aclose()


async def test_a_server_that_answers_nobody_is_given_up(tmp_path: Path):
    with own_redis(tmp_path) as server:
        link = Link(server.url, connect_s=1, answer_s=0.2)
        await link.execute_command("PING")
        server.pause()
        with pytest.raises(TimeoutError):
            await link.execute_command("PING")
        server.unpause()
        assert await link.execute_command("PING") == b"PONG"
        await link.aclose()


async def test_adding_to_a_frozen_redis_is_an_error_and_not_a_hang(tmp_path: Path):
    """A second is the promise; three is where a loaded machine would still tell it from a hang."""
    with own_redis(tmp_path) as server:
        async with open_client(server.url) as client:
            await client.add(make_job())
            server.pause()
            started = time.monotonic()
            answers = await asyncio.gather(*(client.add(make_job()) for _ in range(20)), return_exceptions=True)
            assert {type(answer) for answer in answers} == {QueueUnavailable}
            assert time.monotonic() - started < 3
            server.unpause()
            await until(lambda: _can_add(client.ping))


async def _can_add(ping: object) -> bool:
    try:
        await ping()  # type: ignore[operator]
    except QueueUnavailable:
        return False
    return True


async def test_scripts_come_back_after_they_were_flushed(redis_url: str):
    async with open_client(redis_url) as client:
        await client.add(make_job())
        await client.redis.script_flush()
        job_id = await client.add(make_job())
        assert await client.get_job("events", job_id) is not None
