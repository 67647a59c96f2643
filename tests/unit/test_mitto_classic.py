"""What each answer, and each way of not answering, says about a text: proven refused, accepted, or unknown.

The faults are a real server's, on a real socket: which exception a library makes of each is what is pinned here.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta

import msgspec
import pytest

from smsblossom.domain.encoding import Encoding
from smsblossom.sms import http
from smsblossom.sms.mitto_classic import MittoClassic, classify
from smsblossom.sms.provider import Accepted, ErrorClass, Outbound, Outcome, Refused, Unknown

OK = b'{"id":"7d35863f","timestamp":"2026-11-22T17:51:06.3091182Z","responseCode":0,"textLength":13}'
TEXT = Outbound("m-1", "+12025550101", "Blossom", "Hello", Encoding.GSM7, timedelta(hours=6))
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(code: int, **fields: object) -> bytes:
    return msgspec.json.encode({"responseCode": code, "responseText": "x", **fields})


@pytest.mark.parametrize(
    ("status", "retry_after", "body", "outcome"),
    [
        pytest.param(200, None, OK, Accepted("7d35863f"), id="accepted"),
        pytest.param(202, None, OK, Accepted("7d35863f"), id="accepted with another 2xx"),
        pytest.param(200, None, answer(0, id="a", textLength=" 13"), Accepted("a"), id="length as text"),
        pytest.param(200, None, b'{"responseCode":"0","id":"a"}', Accepted("a"), id="code as text"),
        pytest.param(200, None, answer(0), Unknown("accepted_without_id"), id="accepted without an id"),
        pytest.param(200, None, answer(0, id=""), Unknown("accepted_without_id"), id="accepted with an empty id"),
        pytest.param(200, None, answer(1), Unknown("mitto_1"), id="internal error may hide an acceptance"),
        pytest.param(200, None, answer(2), Refused(ErrorClass.PERMANENT_CONTENT, "mitto_2"), id="type"),
        pytest.param(200, None, answer(3), Refused(ErrorClass.PERMANENT_CONTENT, "mitto_3"), id="empty text"),
        pytest.param(200, None, answer(4), Refused(ErrorClass.PERMANENT_CONTENT, "mitto_4"), id="encoding"),
        pytest.param(200, None, answer(5), Refused(ErrorClass.SENDER_CONFIG, "mitto_5"), id="no sender"),
        pytest.param(200, None, answer(6), Refused(ErrorClass.SENDER_CONFIG, "mitto_6"), id="sender"),
        pytest.param(200, None, answer(7), Refused(ErrorClass.PERMANENT_RECIPIENT, "mitto_7"), id="no receiver"),
        pytest.param(200, None, answer(8), Refused(ErrorClass.PERMANENT_RECIPIENT, "mitto_8"), id="receiver"),
        pytest.param(200, None, answer(9), Unknown("mitto_9"), id="a code of later"),
        pytest.param(200, None, b"", Unknown("unreadable_answer"), id="nothing"),
        pytest.param(200, None, b'{"id":"', Unknown("unreadable_answer"), id="cut"),
        pytest.param(200, None, b"<html>", Unknown("unreadable_answer"), id="a page"),
        pytest.param(200, None, b"[" * 100_000, Unknown("unreadable_answer"), id="deep"),
        pytest.param(200, None, b"\xff\xfe", Unknown("unreadable_answer"), id="not UTF-8"),
        pytest.param(200, None, b'{"id":"\xff","responseCode":0}', Unknown("unreadable_answer"), id="id not UTF-8"),
        pytest.param(200, None, b"{}", Unknown("unreadable_answer"), id="no code"),
        pytest.param(429, None, b"", Refused(ErrorClass.THROTTLED, "http_429"), id="429"),
        pytest.param(429, "7", b"", Refused(ErrorClass.THROTTLED, "http_429", timedelta(seconds=7)), id="429 and when"),
        pytest.param(429, "soon", b"", Refused(ErrorClass.THROTTLED, "http_429"), id="429 and nonsense"),
        pytest.param(
            429, "99999999", b"", Refused(ErrorClass.THROTTLED, "http_429", timedelta(hours=1)), id="429 and never"
        ),
        pytest.param(401, None, b"", Refused(ErrorClass.ACCOUNT, "http_401", timedelta(seconds=60)), id="401"),
        pytest.param(403, None, b"", Refused(ErrorClass.ACCOUNT, "http_403", timedelta(seconds=60)), id="403"),
        pytest.param(400, None, b"", Refused(ErrorClass.PERMANENT_CONTENT, "http_400"), id="400"),
        pytest.param(404, None, b"", Refused(ErrorClass.PERMANENT_CONTENT, "http_404"), id="404"),
        pytest.param(500, None, OK, Unknown("http_500"), id="500, whatever it says"),
        pytest.param(502, None, b"", Unknown("http_502"), id="502"),
        pytest.param(503, "5", b"", Unknown("http_503"), id="503"),
        pytest.param(302, None, b"", Unknown("http_302"), id="a redirect"),
        pytest.param(100, None, b"", Unknown("http_100"), id="below 200"),
    ],
)
def test_an_answer(status: int, retry_after: str | None, body: bytes, outcome: Outcome) -> None:
    assert classify(status, retry_after, body) == outcome


@pytest.mark.parametrize("error", ErrorClass)
def test_only_a_proven_refusal_that_may_pass_is_tried_again(error: ErrorClass) -> None:
    again = {ErrorClass.THROTTLED, ErrorClass.TRANSIENT, ErrorClass.ACCOUNT}
    assert error.may_try_again is (error in again)


class Misbehaving:
    """A server on a socket that talks as it is told and counts the requests it has read."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.requests: list[bytes] = []
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def read(self, reader: asyncio.StreamReader) -> None:
        """One whole request."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        self.requests.append(head + await reader.readexactly(length))


def good(body: bytes = OK, *, extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(body), extra) + body


async def send(url: str, *, count: int = 1, connections: int = 10, between_s: float = 0.0) -> list[Outcome]:
    """Texts one after another through one client with short time limits."""
    outcomes: list[Outcome] = []
    async with http.open_client(url, connect_timeout_s=0.3, read_timeout_s=0.3, connections=connections) as client:
        mitto = MittoClassic(client, api_key="key", callback_url="https://sms.example.com/dlr")
        for _ in range(count):
            outcomes += await mitto.send([TEXT])
            await asyncio.sleep(between_s)
    return outcomes


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with an RST instead of a FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


FAULTS: dict[str, tuple[bytes | None, str, str]] = {
    "closes without a word": (b"", "close", "Unknown"),
    "resets after reading": (b"", "reset", "Unknown"),
    "never answers": (None, "wait", "Unknown"),
    "answers half a status line": (b"HTTP/1.1 2", "close", "Unknown"),
    "answers half a status line and waits": (b"HTTP/1.1 2", "wait", "Unknown"),
    "answers headers and closes": (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", "close", "Unknown"),
    "answers half a body and closes": (good()[:-20], "close", "Unknown"),
    "answers half a body and resets": (good()[:-20], "reset", "Unknown"),
    "answers half a body and waits": (good()[:-20], "wait", "Unknown"),
    "answers a broken chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "close", "Unknown"),
    "does not speak HTTP": (b"\x16\x03\x01 I am not a web server\r\n\r\n", "close", "Unknown"),
    "answers endless headers": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "close", "Unknown"),
    "answers a broken encoding": (good(extra=b"Content-Encoding: gzip\r\n"), "close", "Unknown"),
    "answers a redirect": (
        b"HTTP/1.1 307 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", "close", "Unknown"
    ),
    "answers broken JSON": (good(b'{"id":"'), "close", "Unknown"),
    "answers well": (good(), "close", "Accepted"),
    "answers well without a length": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + OK, "close", "Accepted"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_request_that_was_read_is_never_called_refused_and_never_sent_again(fault: str) -> None:
    words, ending, expected = FAULTS[fault]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        if words:
            writer.write(words)
            await writer.drain()
        if ending == "wait":
            await asyncio.sleep(60)
        if ending == "reset":
            reset(writer)

    server = Misbehaving(talk)
    async with server.listening() as url:
        (outcome,) = await send(url)
        await asyncio.sleep(0.05)
    assert type(outcome).__name__ == expected
    assert len(server.requests) == 1


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_that_ends_while_we_write_is_unknown(how: str) -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if how == "reset":
            reset(writer)

    server = Misbehaving(talk)
    async with server.listening() as url:
        (outcome,) = await send(url)
    assert isinstance(outcome, Unknown)
    assert server.connections == 1


async def test_a_refused_connection_is_a_proven_refusal() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it, and it refuses
        (outcome,) = await send(f"http://127.0.0.1:{holder.getsockname()[1]}")
    assert outcome == Refused(ErrorClass.TRANSIENT, "ConnectError")


async def test_a_connection_that_is_not_made_in_time_is_a_proven_refusal() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):  # the queue of a listener that never accepts is full: further handshakes are not answered
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(server.getsockname())
        await asyncio.sleep(0.05)
        (outcome,) = await send(f"http://127.0.0.1:{server.getsockname()[1]}")
    assert isinstance(outcome, Refused)
    assert (outcome.error, outcome.code) == (ErrorClass.TRANSIENT, "ConnectTimeout")


async def test_no_free_connection_is_a_proven_refusal() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        await asyncio.sleep(60)

    server = Misbehaving(talk)
    async with server.listening() as url:
        async with http.open_client(url, connect_timeout_s=0.2, read_timeout_s=2, connections=1) as client:
            mitto = MittoClassic(client, api_key="key", callback_url="https://sms.example.com/dlr")
            first = asyncio.create_task(mitto.send([TEXT]))
            while not server.requests:
                await asyncio.sleep(0.01)
            (outcome,) = await mitto.send([TEXT])
            first.cancel()
            await asyncio.wait([first])
    assert isinstance(outcome, Refused)
    assert outcome.error is ErrorClass.TRANSIENT
    assert len(server.requests) == 1


async def test_a_kept_connection_that_the_server_closed_is_replaced() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        writer.write(good(extra=b"Connection: keep-alive\r\n"))
        await writer.drain()

    server = Misbehaving(talk)
    async with server.listening() as url:
        outcomes = await send(url, count=3, between_s=0.05)
    assert outcomes == [Accepted("7d35863f")] * 3
    assert (server.connections, len(server.requests)) == (3, 3)


async def test_a_kept_connection_that_is_closed_on_the_next_request_is_unknown_and_not_sent_again() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        writer.write(good())
        await writer.drain()
        await server.read(reader)

    server = Misbehaving(talk)
    async with server.listening() as url:
        first, second = await send(url, count=2)
    assert isinstance(first, Accepted)
    assert isinstance(second, Unknown)
    assert (server.connections, len(server.requests)) == (1, 2)


async def test_what_is_sent() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        writer.write(good())
        await writer.drain()

    server = Misbehaving(talk)
    async with server.listening() as url:
        await send(url)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /sms HTTP/1.1\r\n")
    assert b"x-mitto-api-key: key" in head.lower()
    assert b"content-type: application/json" in head.lower()
    assert msgspec.json.decode(body) == {
        "from": "Blossom",
        "to": "12025550101",
        "text": "Hello",
        "type": "GSM",
        "reference": "m-1",
        "callback": "https://sms.example.com/dlr",
        "validity": 360,
    }


@pytest.mark.parametrize(
    ("validity", "minutes"),
    [
        (timedelta(seconds=1), 1),
        (timedelta(minutes=-5), 1),
        (timedelta(seconds=119), 1),
        (timedelta(days=2), 2880),
        (timedelta(days=30), 2880),
    ],
)
async def test_validity_is_kept_to_what_mitto_takes(validity: timedelta, minutes: int) -> None:
    async with http.open_client("http://127.0.0.1:9", connect_timeout_s=1, read_timeout_s=1) as client:
        mitto = MittoClassic(client, api_key="key", callback_url="https://sms.example.com/dlr")
        assert mitto._request(msgspec.structs.replace(TEXT, validity=validity))["validity"] == minutes
