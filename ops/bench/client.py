"""The load of the ingest bench: signed webhooks over keep-alive connections, one request at a time on each.

A process of its own, and an asyncio.Protocol rather than an HTTP library, so that it costs a fraction of what the
server costs. The last line of its output is one `Load` as JSON.
"""

import argparse
import asyncio
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, cast

import msgspec
import uvloop

from smsblossom.sandbox import phones, shopify
from smsblossom.sandbox.shopify_catalogue import SHOP, web_order
from smsblossom.sandbox.shopify_orders import order_body
from smsblossom.sandbox.shopify_shapes import Ids, encode

BODIES: Final = 512
"""Different bodies; with its own webhook id each request is a new row, and nothing compresses across rows."""
LINES: Final = 7
"""Order lines that make a body of about 12 KB."""
SHOPS: Final = 8
_ID_HEADER: Final = b"X-Shopify-Webhook-Id: "


class Load(msgspec.Struct, kw_only=True):
    """What one run saw. Latencies and `per_s` are of the measured window; `answers` counts the warm-up too."""

    answers: int
    refused: int
    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """This client's own CPU per request."""
    cpu_share: float
    """Of one core, over the window."""
    body_bytes: int


class Run:
    """What the connections share: the requests to send, and what came back."""

    def __init__(self, requests: Sequence[tuple[bytes, bytes]], seed: int) -> None:
        self._requests = requests
        self._seed = seed
        self._sent = 0
        self.answers = 0
        self.refused = 0
        self.latencies: list[float] = []
        self.stopping = False

    def next_request(self) -> bytes:
        head, body = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        return b"%s%s%08x-%012x\r\n\r\n%s" % (head, _ID_HEADER, self._seed, self._sent, body)


class Caller(asyncio.Protocol):
    """One connection: as soon as an answer is complete, the next request."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._sent_at = 0.0
        self._answer = b""
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def call(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._transport.write(self._run.next_request())

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not _is_complete(self._answer):
            return
        run = self._run
        run.answers += 1
        run.latencies.append(time.perf_counter() - self._sent_at)
        run.refused += not self._answer.startswith(b"HTTP/1.1 200")
        self._answer = b""
        if run.stopping:
            self.close()
        else:
            self.call()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._run.stopping:
            self._run.refused += 1
        if not self.closed.done():
            self.closed.set_result(exc)


def _is_complete(answer: bytes) -> bool:
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return False
    at = head.find(b"Content-Length: ")
    return len(body) >= int(head[at + 16 :].partition(b"\r\n")[0])


def make_requests(now: datetime, *, secret: str, count: int = BODIES) -> list[tuple[bytes, bytes]]:
    """Heads without the webhook id, and bodies: orders of several shops, signed."""
    ids = Ids(7)
    made = []
    for index in range(count):
        body = encode(order_body(web_order(ids, now, phones.plain(index), number=1001 + index, lines=LINES)))
        shop = f"bench-{index % SHOPS}-{SHOP}"
        named = shopify.headers(
            "orders/create",
            body,
            shop=shop,
            secret=secret,
            webhook_id="",
            event_id=ids.uuid(),
            triggered_at=now,
        )
        del named["X-Shopify-Webhook-Id"]
        lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        head = f"POST /webhooks/shopify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n{lines}"
        made.append((head.encode(), body))
    return made


async def drive(
    requests: Sequence[tuple[bytes, bytes]], port: int, *, seed: int, connections: int, warm_s: float, seconds: float
) -> Load:
    """Keep every connection busy for `warm_s`, then for `seconds` that are measured."""
    loop, run = asyncio.get_running_loop(), Run(requests, seed)
    callers = [(await loop.create_connection(lambda: Caller(run), "127.0.0.1", port))[1] for _ in range(connections)]
    for caller in callers:
        caller.call()
    await asyncio.sleep(warm_s)
    run.latencies, cpu, began = [], _cpu_s(), time.perf_counter()
    await asyncio.sleep(seconds)
    took, cpu = time.perf_counter() - began, _cpu_s() - cpu
    window = run.latencies[:]
    run.stopping = True
    await asyncio.wait_for(asyncio.gather(*(caller.closed for caller in callers)), 30)
    cuts = statistics.quantiles(window, n=100)
    return Load(
        answers=run.answers,
        refused=run.refused,
        per_s=len(window) / took,
        p50_ms=cuts[49] * 1000,
        p99_ms=cuts[98] * 1000,
        cpu_us=cpu / len(window) * 1e6,
        cpu_share=cpu / took,
        body_bytes=sum(len(body) for _, body in requests) // len(requests),
    )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.client")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--warm", type=float, default=0.7)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    requests = make_requests(datetime.now(UTC), secret=given.secret)
    load = uvloop.run(
        drive(
            requests,
            given.port,
            seed=given.seed,
            connections=given.connections,
            warm_s=given.warm,
            seconds=given.seconds,
        )
    )
    sys.stdout.write(msgspec.json.encode(load).decode() + "\n")


if __name__ == "__main__":
    main()
