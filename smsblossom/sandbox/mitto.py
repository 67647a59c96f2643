"""A fake Mitto: a real HTTP server that answers like the SMS aggregator and keeps its own ledger.

In a test: `async with FakeMitto(MittoSettings()) as mitto: ... mitto.url, mitto.ledger()`.
As a process: `python -m smsblossom.sandbox.mitto --port 0 --dlr-url URL --ledger-file FILE`.

A text is accepted (or not) the moment its call is read, before any latency: a client that is killed while it waits has
sent it all the same, which is the case that hurts. Routes besides Mitto's own: `GET|DELETE /ledger`, `GET /calls`,
`GET|POST /control`, `POST /inbound`, `GET /health`.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import aiohttp
import msgspec
from aiohttp import web

from smsblossom.sandbox.mitto_apis import ENDPOINTS, Endpoint, Reply, Result, render_lookup
from smsblossom.sandbox.mitto_callbacks import Callback, Poster, dotnet_timestamp
from smsblossom.sandbox.mitto_knobs import Dice, Fault, Knobs
from smsblossom.sandbox.mitto_ledger import Call, Ledger, Snapshot, Text
from smsblossom.sandbox.mitto_rules import Magic, Submission, magic_of, parts, refusal

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LATE = frozenset({Magic.ACCEPT_AND_HANG, Magic.LATE_REPORT, Magic.ERROR_AFTER})
_NOTHING_ACCEPTED = frozenset({"401", "429", "500-before"})


@dataclass(frozen=True, kw_only=True)
class MittoSettings:
    """Port 0 picks a free one. Without `api_key` any caller is served; with one, X-Mitto-API-Key must equal it."""

    host: str = "127.0.0.1"
    port: int = 0
    api_key: str | None = None
    ledger_file: Path | None = None
    knobs: Knobs = field(default_factory=Knobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exchange:
    """One call that was read, judged and entered into the ledger, and is now to be answered."""

    call: Call
    texts: list[Text]
    answer: web.Response
    fault: Fault | None


class FakeMitto:
    """The server; an asynchronous context manager that listens on entry and is gone on exit."""

    def __init__(self, settings: MittoSettings | None = None) -> None:
        self._settings = settings or MittoSettings()
        self._knobs = self._settings.knobs
        self._dice = Dice(self._knobs.seed)
        self._busy_calls: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._ledger = Ledger(self._settings.ledger_file)
            stack.callback(self._ledger.close)
            self._poster = Poster(lambda: self._knobs, self._ledger.reported)
            await self._poster.start()
            stack.push_async_callback(self._poster.close)
            self._runner = web.AppRunner(self._app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
            await self._runner.setup()
            stack.push_async_callback(self._runner.cleanup)
            await web.TCPSite(self._runner, self._settings.host, self._settings.port, backlog=1024).start()
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    @property
    def url(self) -> str:
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    def ledger(self, *, reference: str | None = None, since: int = 0) -> Snapshot:
        """What `GET /ledger` answers."""
        return self._ledger.snapshot(reference=reference, since=since)

    def control(self, **changes: Any) -> Knobs:
        """What `POST /control` does. A changed seed or changed faults start the dice anew."""
        knobs = self._knobs.turned(changes)
        if (knobs.seed, knobs.faults) != (self._knobs.seed, self._knobs.faults):
            self._dice = Dice(knobs.seed)
        self._knobs = knobs
        self._poster.wake()
        return knobs

    def inbound(self, *, sender: str, to: str, text: str, api: str = "classic", delay_s: float = 0.0) -> str:
        """Post an inbound text to the inbound URL; returns its id."""
        now = datetime.now(UTC)
        fields = {"from": sender, "to": to, "text": text, "id": f"mo-{self._ledger.next_seq()}"}
        fields["timestamp"] = dotnet_timestamp(now)
        self._poster.add(Callback(kind="mo", url=None, api=api, fields=fields), delay_s)
        return fields["id"]

    # ---- Mitto's own routes

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_routes([web.post(endpoint.path, self._handler(endpoint)) for endpoint in ENDPOINTS])
        app.router.add_routes(
            [
                web.get("/api/v1.1/Messages/{id}", self._get_message),
                web.get("/ledger", self._get_ledger),
                web.delete("/ledger", self._delete_ledger),
                web.get("/calls", self._get_calls),
                web.get("/control", self._get_control),
                web.post("/control", self._post_control),
                web.post("/inbound", self._post_inbound),
                web.get("/health", self._get_health),
            ]
        )
        return app

    def _handler(self, endpoint: Endpoint) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            raw = await request.read()
            exchange = self._exchange(endpoint, raw, authorized=self._authorized(request))
            return await self._answer(request, exchange)

        return handle

    def _authorized(self, request: web.Request) -> bool:
        if self._settings.api_key is None:
            return True
        given = request.headers.get("X-Mitto-API-Key", "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, self._settings.api_key.encode())

    def _exchange(self, endpoint: Endpoint, raw: bytes, *, authorized: bool) -> _Exchange:
        """Read, judge, accept, enter into the ledger; no waiting in here, so one call is one step."""
        if not authorized:
            return self._unread(endpoint, "401", 401)
        try:
            submissions = endpoint.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._unread(endpoint, "400", 400)
        fault = self._fault(submissions)
        if fault in _NOTHING_ACCEPTED:
            call = self._enter(endpoint, fault, submissions)
            return _Exchange(call=call, texts=[], answer=_error(int(fault[:3])), fault=fault)
        return self._judged(endpoint, submissions, fault)

    def _judged(self, endpoint: Endpoint, submissions: list[Submission], fault: Fault | None) -> _Exchange:
        codes = [refusal(submission) for submission in submissions]
        refused = next((code for code in codes if code is not None), None)
        if refused is not None and endpoint.whole:
            codes = [refused] * len(codes)
        ok = "ok" if refused is None else f"refused:{refused}"
        now = datetime.now(UTC)
        call = self._enter(endpoint, fault or ok, submissions)
        results: list[Result] = [
            self._accept(endpoint, submission, call.answered if fault else "ok", now) if code is None else code
            for submission, code in zip(submissions, codes, strict=True)
        ]
        as_string = self._knobs.text_length == "string" or (self._knobs.text_length == "mixed" and call.seq % 2 == 0)
        status, body = endpoint.render(
            Reply(results=results, submissions=submissions, at=now, length_as_string=as_string)
        )
        texts = [result for result in results if isinstance(result, Text)]
        return _Exchange(call=call, texts=texts, answer=_json(body, status), fault=fault)

    def _unread(self, endpoint: Endpoint, answered: str, status: int) -> _Exchange:
        return _Exchange(call=self._enter(endpoint, answered, []), texts=[], answer=_error(status), fault=None)

    def _enter(self, endpoint: Endpoint, answered: str, submissions: list[Submission]) -> Call:
        call = Call(
            seq=self._ledger.next_seq(),
            at=datetime.now(UTC),
            path=endpoint.path,
            texts=len(submissions),
            references=[each.reference for each in submissions if each.reference is not None],
            answered=answered,
        )
        self._ledger.called(call)
        return call

    def _accept(self, endpoint: Endpoint, submission: Submission, answered: str, now: datetime) -> Text:
        text = Text(
            seq=self._ledger.next_seq(),
            at=now,
            id=endpoint.new_id(now),
            api=endpoint.api,
            to=submission.to,
            sender=submission.sender,
            text=submission.text,
            type=submission.type,
            parts=parts(submission.text),
            reference=submission.reference,
            callback=submission.callback,
            validity=submission.validity,
            answered=answered,
        )
        if submission.test:
            self._ledger.accept_test(text)
        else:
            self._ledger.accept(text)
            self._report(text)
        return text

    def _fault(self, submissions: list[Submission]) -> Fault | None:
        """Magic digits before dice; in a bulk call the harshest wins, in the order of the checks."""
        magics = {magic_of(each.to): each for each in reversed(submissions)}
        if Magic.ERROR_BEFORE in magics:
            return "500-before"
        if Magic.BUSY_TWICE in magics:
            busy = magics[Magic.BUSY_TWICE]
            key = busy.reference or busy.to
            self._busy_calls[key] += 1
            if self._busy_calls[key] <= 2:
                return "429"
        if Magic.ACCEPT_AND_HANG in magics:
            return "hang"
        if Magic.ERROR_AFTER in magics:
            return "500-after"
        return self._dice.fault(self._knobs)

    async def _answer(self, request: web.Request, exchange: _Exchange) -> web.StreamResponse:
        knobs = self._knobs
        match exchange.fault:
            case "hang":
                await asyncio.sleep(knobs.hang_max_ms / 1000)
                return await _cut(request)
            case "slow":
                await asyncio.sleep(knobs.slow_ms / 1000)
                return exchange.answer
            case "reset":
                return await _cut(request)
            case "garbage":
                return web.Response(body=b'{"id":"', content_type="application/json")
            case "500-after":
                return _error(500)
            case _:
                return await self._after_latency(exchange, knobs.latency_ms / 1000)

    async def _after_latency(self, exchange: _Exchange, seconds: float) -> web.StreamResponse:
        if seconds > 0:
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                if exchange.texts:
                    self._ledger.abandoned(exchange.call, exchange.texts)
                raise
        return exchange.answer

    # ---- reports

    def _report(self, text: Text) -> None:
        knobs, magic = self._knobs, magic_of(text.to)
        delay_s = (knobs.late_report_ms if magic in _LATE else knobs.report_delay_ms) / 1000
        if knobs.sent_reports:
            self._add_report(text, "Sent", delay_s / 2)
        failed = self._dice.happens(knobs.undelivered_rate)
        self._add_report(text, "Failure" if failed else "Delivered", delay_s)
        if magic is Magic.REPLIES_STOP:
            plus = "+" if text.api == "messaging" else ""
            self.inbound(sender=f"{plus}{text.to}", to=text.sender, text="STOP", api=text.api, delay_s=delay_s)

    def _add_report(self, text: Text, status: str, delay_s: float) -> None:
        fields = {"id": text.id, "status": status, "errorCode": "1" if status == "Failure" else "0"}
        if text.reference is not None:
            fields["reference"] = text.reference
        fields["timestamp"] = dotnet_timestamp(text.at)
        copies = 2 if self._dice.happens(self._knobs.duplicate_rate) else 1
        for copy in range(copies):
            callback = Callback(kind="dlr", url=text.callback, api=text.api, fields=fields)
            shuffle_s = self._dice.shuffle_ms(self._knobs) / 1000
            self._poster.add(callback, delay_s + shuffle_s + copy * 0.05, lambda: _settle(text, status))

    # ---- routes of the sandbox

    async def _get_message(self, request: web.Request) -> web.Response:
        if not self._authorized(request):
            return _error(401)
        text = self._ledger.find(request.match_info["id"])
        return _error(404) if text is None or text.api != "messaging" else _json(render_lookup(text))

    async def _get_ledger(self, request: web.Request) -> web.Response:
        try:
            since = int(request.query.get("since", "0"))
        except ValueError:
            return _error(400)
        return _json(self.ledger(reference=request.query.get("reference"), since=since))

    async def _delete_ledger(self, _: web.Request) -> web.Response:
        self._ledger.delete()
        self._busy_calls.clear()
        return web.Response(status=204)

    async def _get_calls(self, _: web.Request) -> web.Response:
        return _json(self._ledger.calls)

    async def _get_control(self, _: web.Request) -> web.Response:
        return _json(self._knobs)

    async def _post_control(self, request: web.Request) -> web.Response:
        try:
            return _json(self.control(**msgspec.json.decode(await request.read(), type=dict[str, Any])))
        except msgspec.MsgspecError as error:
            return _json({"error": str(error)}, 400)

    async def _post_inbound(self, request: web.Request) -> web.Response:
        try:
            body = msgspec.json.decode(await request.read(), type=dict[str, str])
            return _json({"id": self.inbound(sender=body["from"], to=body["to"], text=body["text"])}, 202)
        except (msgspec.MsgspecError, KeyError):
            return _error(400)

    async def _get_health(self, _: web.Request) -> web.Response:
        return _json({"status": "ok", "reports_waiting": self._poster.waiting})


async def fetch_ledger(session: aiohttp.ClientSession, url: str, *, reference: str | None = None) -> Snapshot:
    """The ledger of a fake Mitto that runs in another process; `url` is its base address."""
    query = {} if reference is None else {"reference": reference}
    async with session.get(f"{url}/ledger", params=query) as response:
        response.raise_for_status()
        return msgspec.json.decode(await response.read(), type=Snapshot)


def _settle(text: Text, status: str) -> None:
    if text.status == "Sent":
        text.status = status


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


def _error(status: int) -> web.Response:
    return _json({"message": f"HTTP {status}"}, status)


async def _cut(request: web.Request) -> web.StreamResponse:
    """Drop the connection without an answer; the handler is cancelled by that, or ends on its own."""
    if request.transport is not None:
        request.transport.abort()
    await asyncio.sleep(1)
    return web.Response()


# ---- the process


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m smsblossom.sandbox.mitto", description="A fake Mitto.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one (default)")
    parser.add_argument("--api-key", help="refuse calls whose X-Mitto-API-Key differs")
    parser.add_argument("--dlr-url", help="where delivery reports go unless a text names its own callback")
    parser.add_argument("--inbound-url", help="where inbound texts go")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--ledger-file", type=Path, help="one JSON line per accepted text; continued after a restart")
    parser.add_argument("--control", type=json.loads, default={}, help="any further knobs, as a JSON object")
    return parser.parse_args(argv)


def _settings(arguments: argparse.Namespace) -> MittoSettings:
    named = {key: getattr(arguments, key) for key in ("dlr_url", "inbound_url", "latency_ms")}
    return MittoSettings(
        host=arguments.host,
        port=arguments.port,
        api_key=arguments.api_key,
        ledger_file=arguments.ledger_file,
        knobs=Knobs().turned({**named, **arguments.control}),
    )


async def _serve(settings: MittoSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with FakeMitto(settings) as mitto:
        sys.stdout.write(f"fake Mitto listening on {mitto.url}\n")
        sys.stdout.flush()
        await stop.wait()


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM, on uvloop where it is installed."""
    settings = _settings(_arguments(argv))
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(settings))
    else:
        uvloop.run(_serve(settings))


if __name__ == "__main__":
    main()
