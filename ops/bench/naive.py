"""What the receiver is compared with. `python -m ops.bench.naive trivial|bare|rows` listens and prints its address.

trivial  bytes counted, nothing parsed: as fast as this client can be answered
bare     aiohttp on uvloop that reads the body and verifies its HMAC: as fast as this stack can receive
rows     our own `serve` with the group commit taken out: one transaction and one enqueue per request, pool of ten
"""

import argparse
import asyncio
import sys
from typing import Final, cast

import uvloop
from aiohttp import web

from smsblossom import settings as settings_module
from smsblossom.cli.main import cli
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.settings import Settings
from smsblossom.shopify.signatures import WebhookVerifier
from smsblossom.store import inbox
from smsblossom.store.engine import StoreUnavailable
from smsblossom.usecases import accept
from smsblossom.usecases.accept import Acceptor, Arrival, NotDurable, jobs_for

_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


class Trivial(asyncio.Protocol):
    """Answers when as many bytes have come as the first Content-Length announced."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._come = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._come += data
        end = self._come.find(b"\r\n\r\n")
        at = self._come.find(b"Content-Length: ")
        if end > 0 and len(self._come) >= end + 4 + int(self._come[at + 16 : at + 26].partition(b"\r\n")[0]):
            self._come = b""
            assert self._transport is not None
            self._transport.write(_ANSWER)


class RowPerRequest(Acceptor):
    """One INSERT in a transaction of its own and one enqueue per webhook; sealed as ours, on a pool of ten."""

    async def accept(self, arrival: Arrival) -> bool:
        try:
            new = await inbox.add_many(self._store, [self._seal(arrival)])
        except StoreUnavailable as error:
            raise NotDurable(str(error)) from error
        if new:
            try:
                await self._queue.add_many(jobs_for([arrival]))
            except QueueUnavailable:
                return True
        return bool(new)


async def serve_trivial() -> None:
    server = await asyncio.get_running_loop().create_server(Trivial, "127.0.0.1", 0)
    _say(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def serve_bare(settings: Settings) -> None:
    verifier = WebhookVerifier(settings.shopify_api_secrets)

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        valid = verifier.is_valid(body, request.headers.get("X-Shopify-Hmac-Sha256"))
        return web.Response(text="ok\n") if valid else web.Response(status=401, text="wrong\n")

    app = web.Application()
    app.add_routes([web.post("/webhooks/shopify", receive)])
    await _serve(app)


def serve_rows() -> None:
    """`smsblossom serve` itself, with the group commit taken out."""
    accept.Acceptor = RowPerRequest  # type: ignore[misc]  # the one part that differs
    cli(["serve", "--port", "0"])


async def _serve(app: web.Application) -> None:
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=75)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    _say(runner.addresses[0][1])
    await asyncio.Event().wait()


def _say(port: int) -> None:
    sys.stdout.write(f"listening on http://127.0.0.1:{port}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.naive")
    parser.add_argument("kind", choices=["trivial", "bare", "rows"])
    kind = parser.parse_args().kind
    if kind == "trivial":
        uvloop.run(serve_trivial())
    elif kind == "rows":
        serve_rows()
    else:
        uvloop.run(serve_bare(settings_module.load()))


if __name__ == "__main__":
    main()
