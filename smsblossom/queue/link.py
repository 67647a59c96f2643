"""One pipelined connection to Redis for the hot paths: a call costs a quarter of what it costs through redis-py.

Calls go out in the order they are made and are answered in that order. The connection is made when first needed and
again after it was lost. Everything else (pub/sub, the lease thread, rare commands) goes through redis-py.
"""

import asyncio
import ssl
from collections import deque
from typing import Any, cast

import hiredis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004
)

_ERRORS: dict[str, type[Exception]] = {
    "NOSCRIPT": NoScriptError,
    "LOADING": BusyLoadingError,
    "READONLY": ReadOnlyError,
    "NOAUTH": AuthenticationError,
    "WRONGPASS": AuthenticationError,
}


def _error(text: str) -> Exception:
    return _ERRORS.get(text.split(" ", 1)[0], ResponseError)(text)


class _Protocol(asyncio.Protocol):
    """Feeds the replies to the calls that wait for them."""

    def __init__(self) -> None:
        self.reader = hiredis.Reader(replyError=_error)
        self.waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        reader, waiting = self.reader, self.waiting
        reader.feed(data)
        while (reply := reader.gets()) is not False:
            future = waiting.popleft()[0]
            if future.done():
                continue
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(ConnectionError(f"connection lost: {type(exc).__name__}" if exc else "connection closed"))

    def fail(self, error: Exception) -> None:
        self.transport = None
        while self.waiting:
            future = self.waiting.popleft()[0]
            if not future.done():
                future.set_exception(error)
                future.exception()  # a caller that went away must not leave a warning


class Link:
    """`send` and `execute_command` raise redis-py's exceptions: `TimeoutError` after `answer_s` without a reply."""

    def __init__(self, redis_url: str, *, connect_s: float, answer_s: float) -> None:
        self._options: dict[str, Any] = dict(parse_url(redis_url))
        self._connect_s = connect_s
        self._answer_s = answer_s
        self._protocol: _Protocol | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._backlog: list[tuple[bytes, asyncio.Future[Any]]] = []
        self._alarm: asyncio.TimerHandle | None = None

    def send(self, *command: Any) -> "asyncio.Future[Any]":
        """Send a command and return the future reply."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        packed = hiredis.pack_command(command)
        protocol = self._protocol
        if protocol is not None and protocol.transport is not None:
            self._write(protocol, packed, future, loop)
        else:
            self._backlog.append((packed, future))
            if self._connecting is None:
                self._connecting = loop.create_task(self._connect())
        return future

    async def execute_command(self, *command: Any) -> Any:
        """Send a command and wait for its reply, as redis-py's clients do."""
        return await self.send(*command)

    def abort(self, error: Exception | None = None) -> None:
        """Give up the connection; calls under way fail, the next one connects again."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        protocol, self._protocol = self._protocol, None
        if protocol is not None and protocol.transport is not None:
            transport = protocol.transport
            protocol.fail(error or ConnectionError("given up"))
            transport.abort()

    async def aclose(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        self.abort()

    def _write(
        self, protocol: _Protocol, packed: bytes, future: "asyncio.Future[Any]", loop: asyncio.AbstractEventLoop
    ) -> None:
        protocol.waiting.append((future, loop.time()))
        cast("asyncio.Transport", protocol.transport).write(packed)
        if self._alarm is None:
            self._alarm = loop.call_later(self._answer_s, self._check_silence)

    def _check_silence(self) -> None:
        """Fires once per `answer_s` while there are calls: a timer per call would cost more than the call."""
        self._alarm = None
        protocol = self._protocol
        if protocol is None or not protocol.waiting:
            return
        loop = asyncio.get_running_loop()
        left = protocol.waiting[0][1] + self._answer_s - loop.time()
        if left <= 0.001:
            self.abort(TimeoutError("no answer"))
        else:
            self._alarm = loop.call_later(left, self._check_silence)

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._connect_s):
                protocol = await self._open()
        except Exception as exc:  # noqa: BLE001 - handed to everyone who waits for the connection
            error = exc if isinstance(exc, RedisError) else ConnectionError(type(exc).__name__)
            self._fail_backlog(error)
        except asyncio.CancelledError:
            self._fail_backlog(ConnectionError("closed"))
            raise
        else:
            self._protocol = protocol
            loop = asyncio.get_running_loop()
            backlog, self._backlog = self._backlog, []
            for packed, future in backlog:
                self._write(protocol, packed, future, loop)
        finally:
            self._connecting = None

    def _fail_backlog(self, error: Exception) -> None:
        backlog, self._backlog = self._backlog, []
        for _, future in backlog:
            if not future.done():
                future.set_exception(error)
                future.exception()

    async def _open(self) -> _Protocol:
        loop, options = asyncio.get_running_loop(), self._options
        if "path" in options:
            _, protocol = await loop.create_unix_connection(_Protocol, options["path"])
        else:
            _, protocol = await loop.create_connection(
                _Protocol, options.get("host", "localhost"), options.get("port", 6379), ssl=_tls(options)
            )
        try:
            await self._greet(protocol, loop)
        except BaseException:
            if protocol.transport is not None:
                protocol.transport.abort()
            raise
        return protocol

    async def _greet(self, protocol: _Protocol, loop: asyncio.AbstractEventLoop) -> None:
        greeting: list[tuple[Any, ...]] = []
        password, user = self._options.get("password"), self._options.get("username")
        if password is not None:
            greeting.append(("AUTH", user, password) if user else ("AUTH", password))
        if self._options.get("db"):
            greeting.append(("SELECT", self._options["db"]))
        for command in greeting:
            future: asyncio.Future[Any] = loop.create_future()
            self._write(protocol, hiredis.pack_command(command), future, loop)
            await future


def _tls(options: dict[str, Any]) -> ssl.SSLContext | None:
    """The context of a `rediss://` address; its `ssl_…` options are redis-py's."""
    if options.get("connection_class") is not SSLConnection:
        return None
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if options.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    return context
