"""The fake Mitto over HTTP: both APIs, every code and magic digit, its reports, its faults, its ledger after a kill."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from smsblossom.sandbox.mitto import FakeMitto, MittoSettings, fetch_ledger
from smsblossom.sandbox.mitto_knobs import Knobs
from smsblossom.sandbox.mitto_ledger import read_ledger_file

ACCOUNT = "e8a5e53f-51ce-4cc8-9f3c-43fb1d24daf7"
PLAIN = "12025550110"
QUICK: dict[str, Any] = {"report_delay_ms": 1, "late_report_ms": 20, "hang_max_ms": 150}

Json = dict[str, Any]


def classic(to: str = PLAIN, **fields: object) -> Json:
    return {"from": "Blossom", "to": to, "text": "Your order left", "type": "GSM", "reference": "m-1", **fields}


def message(to: str = f"+{PLAIN}", text: str = "Your order left", **fields: object) -> Json:
    return {"trafficAccountId": ACCOUNT, "destination": to, "sms": {"text": text, "sender": "Blossom"}, **fields}


async def call(url: str, body: object, **headers: str) -> tuple[int, Any]:
    """Status and parsed body of a POST; the body None when it is not JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with aiohttp.ClientSession() as session, session.post(url, data=raw, headers=headers) as response:
        try:
            return response.status, json.loads(await response.read())
        except ValueError:
            return response.status, None


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def fake(**knobs: Any) -> AsyncIterator[FakeMitto]:
    async with FakeMitto(MittoSettings(knobs=Knobs().turned({**QUICK, **knobs}))) as mitto:
        yield mitto


class Receiver:
    """Where reports and inbound texts arrive; answers `status`, keeps (path, content type, fields)."""

    def __init__(self) -> None:
        self.status = 200
        self.refused = 0
        self.got: list[tuple[str, str, Any]] = []

    def fields(self, path: str = "/dlr") -> list[Json]:
        return [fields for at, _, fields in self.got if at == path]

    async def handle(self, request: web.Request) -> web.Response:
        if self.status != 200:
            self.refused += 1
            return web.Response(status=self.status)
        if request.method == "GET":
            fields: Any = dict(request.query)
        elif request.content_type == "application/json":
            fields = await request.json()
        else:
            fields = dict(await request.post())
        self.got.append((request.path, request.content_type if request.method == "POST" else "query", fields))
        return web.Response()


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[Receiver, str]]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", receiver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield receiver, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


# ---- classic


@pytest.mark.parametrize(
    ("shape", "length"), [pytest.param("int", 15, id="length-as-int"), pytest.param("string", " 15", id="as-string")]
)
async def test_classic_accepts_in_both_documented_shapes(shape: str, length: object) -> None:
    async with fake(text_length=shape) as mitto:
        status, body = await call(f"{mitto.url}/sms", classic(validity=60, callback="http://cb.example"))
        (text,) = mitto.ledger().texts
    assert status == 200
    assert re.fullmatch(r"[0-9a-f]{32}", body["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", body["timestamp"])
    assert (body["responseCode"], body["textLength"], body["responseText"]) == (0, length, "SMS sent")
    assert "test" not in body
    assert (text.id, text.to, text.sender, text.reference) == (body["id"], PLAIN, "Blossom", "m-1")
    assert (text.validity, text.callback, text.parts, text.answered) == (60, "http://cb.example", 1, "ok")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"type": "SMS"}, 2),
        ({"text": ""}, 3),
        ({"text": "Καλημέρα"}, 4),
        ({"from": ""}, 5),
        ({"from": "x"}, 6),
        ({"to": ""}, 7),
        ({"to": f"+{PLAIN}"}, 8),
        ({"to": "12025550102"}, 8),
    ],
    ids=str,
)
async def test_classic_refuses_with_a_code_and_http_200(changes: Json, code: int) -> None:
    async with fake() as mitto:
        status, body = await call(f"{mitto.url}/sms", classic(**changes))
        ledger = mitto.ledger()
    assert (status, body["responseCode"]) == (200, code)
    assert "id" not in body
    assert ledger.texts == []
    assert ledger.calls == {f"refused:{code}": 1}


async def test_a_test_text_reaches_nobody() -> None:
    async with fake() as mitto:
        _, body = await call(f"{mitto.url}/sms", classic(test=True))
        ledger = mitto.ledger()
    assert body["test"] is True
    assert ledger.texts == []
    assert [text.id for text in ledger.test_texts] == [body["id"]]


@pytest.mark.parametrize("path", ["/sms", "/smsbulk", "/api/v1.1/Messages/send", "/api/v1.1/Messages/sendmessagesbulk"])
@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"\xff", b'{"text": 7}', b"[" * 100_000], ids=lambda raw: str(raw[:12])
)
async def test_malformed_json_is_400(path: str, raw: bytes) -> None:
    async with fake() as mitto:
        status, _ = await call(mitto.url + path, raw)
        assert mitto.ledger().calls == {"400": 1}
    assert status == 400


async def test_the_key_is_checked_when_there_is_one() -> None:
    async with FakeMitto(MittoSettings(api_key="key-1")) as mitto:
        wrong: list[dict[str, str]] = [{}, {"X-Mitto-API-Key": "key-2"}, {"X-Mitto-API-Key": "ключ"}]
        assert [(await call(f"{mitto.url}/sms", classic(), **headers))[0] for headers in wrong] == [401] * 3
        assert (await call(f"{mitto.url}/sms", classic(), **{"X-Mitto-API-Key": "key-1"}))[0] == 200
        assert mitto.ledger().calls == {"401": 3, "ok": 1}


@pytest.mark.parametrize("to", [["12025550110", "12025550111"], "12025550110, 12025550111"], ids=["array", "commas"])
async def test_classic_bulk_maps_by_position(to: object) -> None:
    async with fake() as mitto:
        status, body = await call(f"{mitto.url}/smsbulk", {**classic(), "to": to})
        texts = mitto.ledger().texts
    assert (status, body["responseCode"]) == (200, 0)
    assert [entry["id"] for entry in body["messages"]] == [text.id for text in texts]
    assert [text.to for text in texts] == ["12025550110", "12025550111"]


async def test_classic_bulk_is_refused_as_a_whole() -> None:
    async with fake() as mitto:
        _, body = await call(f"{mitto.url}/smsbulk", {**classic(), "to": [PLAIN, "12025550102"]})
        assert mitto.ledger().texts == []
    assert body["responseCode"] == 8


# ---- Messaging v1.1


async def test_messaging_sends_and_is_looked_up() -> None:
    async with fake() as mitto, aiohttp.ClientSession() as session:
        status, body = await call(f"{mitto.url}/api/v1.1/Messages/send", message(reference="m-2"))
        message_id = body["messages"][0]["messageId"]
        await until(lambda: mitto.ledger().texts[0].status == "Delivered")
        async with session.get(f"{mitto.url}/api/v1.1/Messages/{message_id}") as response:
            found = await response.json()
        async with session.get(f"{mitto.url}/api/v1.1/Messages/01UNKNOWN") as response:
            assert response.status == 404
    assert status == 200
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", message_id)
    assert (found["deliveryStatus"], found["messageParts"], found["text"]) == ("Delivered", 1, "Your order left")
    assert found["reference"] == "m-2"


async def test_messaging_bulk_refuses_entries_alone() -> None:
    entries = [message(), message("+12025550102"), message(PLAIN), message("+12025550111", "Γεια σου")]
    async with fake() as mitto:
        status, body = await call(f"{mitto.url}/api/v1.1/Messages/sendmessagesbulk", {"messages": entries})
        ledger = mitto.ledger()
    assert status == 200
    assert re.fullmatch(r"[0-9a-f-]{36}", body["bulkId"])
    assert ["messageId" in entry for entry in body["messages"]] == [True, False, False, True]
    assert [text.to for text in ledger.texts] == [PLAIN, "12025550111"]
    assert ledger.call_texts == {"refused:8": 4}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("send", message("+12025550102")),
        ("send", message(PLAIN)),
        ("send", message(trafficAccountId="not-a-uuid")),
        ("sendmessagesbulk", {"messages": []}),
    ],
    ids=["invalid-receiver", "plus-missing", "account-malformed", "bulk-empty"],
)
async def test_messaging_refuses_with_400(path: str, body: Json) -> None:
    async with fake() as mitto:
        status, _ = await call(f"{mitto.url}/api/v1.1/Messages/{path}", body)
        assert mitto.ledger().texts == []
    assert status == 400


# ---- magic digits, on both APIs


async def submit(mitto: FakeMitto, api: str, to: str) -> int | None:
    """HTTP status of one submission; None when the connection ended without an answer."""
    path, body = ("/sms", classic(to)) if api == "classic" else ("/api/v1.1/Messages/send", message(f"+{to}"))
    body["reference"] = f"ref-{to}"
    try:
        return (await call(mitto.url + path, body))[0]
    except aiohttp.ClientError:
        return None


@pytest.mark.parametrize("api", ["classic", "messaging"])
@pytest.mark.parametrize(
    ("ending", "statuses", "answered"),
    [
        pytest.param("01", [200], "ok", id="01-delivered"),
        pytest.param("03", [None], "hang", id="03-accepts-and-hangs"),
        pytest.param("04", [429, 429, 200], "ok", id="04-busy-twice"),
        pytest.param("05", [200], "ok", id="05-late"),
        pytest.param("06", [200], "ok", id="06-stop"),
        pytest.param("07", [500], "500-after", id="07-error-after"),
        pytest.param("08", [500], None, id="08-error-before"),
    ],
)
async def test_magic_digits(api: str, ending: str, statuses: list[int | None], answered: str | None) -> None:
    async with receiving() as (receiver, url), fake(dlr_url=f"{url}/dlr", inbound_url=f"{url}/mo") as mitto:
        to = f"120255501{ending}"
        assert [await submit(mitto, api, to) for _ in statuses] == statuses
        texts = mitto.ledger(reference=f"ref-{to}").texts
        assert [text.answered for text in texts] == ([] if answered is None else [answered])
        if texts:
            await until(lambda: bool(receiver.fields()))
            assert receiver.fields()[0]["reference"] == f"ref-{to}"
        if ending == "06":
            await until(lambda: bool(receiver.fields("/mo")))
            (reply,) = receiver.fields("/mo")
            assert (reply["from"].lstrip("+"), reply["to"], reply["text"]) == (to, "Blossom", "STOP")
            assert set(reply) == {"from", "to", "text", "id", "timestamp"}


async def test_late_reports_come_after_the_others() -> None:
    async with receiving() as (receiver, url), fake(dlr_url=f"{url}/dlr", late_report_ms=600_000) as mitto:
        for to in ("12025550103", "12025550105", "12025550107", "12025550101"):
            await submit(mitto, "classic", to)
        await until(lambda: bool(receiver.got))
        assert [fields["reference"] for fields in receiver.fields()] == ["ref-12025550101"]
        assert mitto.ledger().calls == {"hang": 1, "ok": 2, "500-after": 1}


async def test_a_taken_port_leaves_nothing_open() -> None:
    async with fake() as mitto:
        port = int(mitto.url.rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"):
            await FakeMitto(MittoSettings(port=port)).__aenter__()


async def test_a_hang_lets_go_when_the_client_does() -> None:
    async with fake(hang_max_ms=120_000) as mitto, aiohttp.ClientSession() as session:
        with pytest.raises(TimeoutError):
            await session.post(
                f"{mitto.url}/sms", json=classic("12025550103"), timeout=aiohttp.ClientTimeout(total=0.1)
            )
        assert len(mitto.ledger().texts) == 1


async def test_a_client_that_leaves_during_the_latency_is_booked_as_abandoned() -> None:
    async with fake(latency_ms=60_000) as mitto, aiohttp.ClientSession() as session:
        with pytest.raises(TimeoutError):
            await session.post(f"{mitto.url}/sms", json=classic(), timeout=aiohttp.ClientTimeout(total=0.1))
        await until(lambda: mitto.ledger().calls == {"abandoned": 1})
        assert [text.answered for text in mitto.ledger().texts] == ["abandoned"]


# ---- faults and control


@pytest.mark.parametrize(
    ("kind", "status", "texts"),
    [
        ("401", 401, 0),
        ("429", 429, 0),
        ("500-before", 500, 0),
        ("500-after", 500, 1),
        ("hang", None, 1),
        ("slow", 200, 1),
        ("reset", None, 1),
        ("garbage", 200, 1),
    ],
)
async def test_every_fault_of_the_dice(kind: str, status: int | None, texts: int) -> None:
    async with fake(slow_ms=5) as mitto:
        assert (await call(f"{mitto.url}/control", {"faults": {kind: 1.0}, "seed": 3}))[0] == 200
        assert await submit(mitto, "classic", PLAIN) == status
        ledger = mitto.ledger()
    assert (len(ledger.texts), ledger.calls, ledger.call_texts) == (texts, {kind: 1}, {kind: 1})


async def test_faults_repeat_by_seed() -> None:
    async def run(seed: int) -> list[int | None]:
        async with fake(faults={"500-before": 0.3, "429": 0.2}, seed=seed) as mitto:
            return [await submit(mitto, "classic", PLAIN) for _ in range(40)]

    first = await run(11)
    assert first == await run(11)
    assert first != await run(12)
    assert {200, 429, 500} == set(first)


async def test_control_names_what_it_does_not_know() -> None:
    async with fake() as mitto:
        status, body = await call(f"{mitto.url}/control", {"latency": 5})
        assert (status, "latency" in body["error"]) == (400, True)
        assert (await call(f"{mitto.url}/control", {"latency_ms": 5}))[1]["latency_ms"] == 5


async def test_the_ledger_over_http() -> None:
    async with fake(report_delay_ms=600_000) as mitto, aiohttp.ClientSession() as session:
        for number in range(3):
            await call(f"{mitto.url}/sms", classic(reference=f"m-{number}"))
        assert await fetch_ledger(session, mitto.url) == mitto.ledger()
        one = await fetch_ledger(session, mitto.url, reference="m-1")
        assert [text.reference for text in one.texts] == ["m-1"]
        sequence = [text.seq for text in mitto.ledger().texts]
        assert sequence == sorted(set(sequence))
        async with session.delete(f"{mitto.url}/ledger") as response:
            assert response.status == 204
        assert (mitto.ledger().texts, mitto.ledger().calls) == ([], {})
        async with session.get(f"{mitto.url}/health") as response:
            assert (await response.json())["status"] == "ok"


# ---- reports and inbound texts


@pytest.mark.parametrize(
    ("method", "content_type"),
    [
        ("get", "query"),
        ("form", "application/x-www-form-urlencoded"),
        ("json", "application/json"),
        ("array", "application/json"),
    ],
)
@pytest.mark.parametrize(
    ("names", "keys"),
    [
        ("short", ("id", "status")),
        ("long", ("messageId", "deliveryStatus")),
        ("pascal", ("MessageId", "DeliveryStatus")),
    ],
)
async def test_reports_in_every_form(method: str, content_type: str, names: str, keys: tuple[str, str]) -> None:
    knobs = {"callback_method": method, "callback_names": names}
    async with receiving() as (receiver, url), fake(dlr_url=f"{url}/dlr?token=t", **knobs) as mitto:
        _, body = await call(f"{mitto.url}/sms", classic())
        await until(lambda: bool(receiver.got))
    ((_, seen_type, fields),) = receiver.got
    fields = fields[0] if method == "array" else fields
    assert seen_type == content_type
    assert (fields[keys[0]], fields[keys[1]]) == (body["id"], "Delivered")


async def test_a_texts_own_callback_wins() -> None:
    async with receiving() as (receiver, url), fake(dlr_url=f"{url}/dlr") as mitto:
        await call(f"{mitto.url}/sms", classic(callback=f"{url}/own"))
        await until(lambda: bool(receiver.got))
        assert [path for path, _, _ in receiver.got] == ["/own"]


async def test_reports_are_repeated_until_the_receiver_answers() -> None:
    async with receiving() as (receiver, url), fake(dlr_url=f"{url}/dlr") as mitto:
        receiver.status = 503
        await call(f"{mitto.url}/sms", classic())
        await until(lambda: receiver.refused >= 2)
        assert receiver.got == []
        receiver.status = 200
        await until(lambda: bool(receiver.got))
        await until(lambda: mitto.ledger().reports.get("dlr_posted") == 1)
        assert mitto.ledger().reports["dlr_retried"] == receiver.refused


async def test_reports_give_up_at_last() -> None:
    async with receiving() as (receiver, url), fake(dlr_url=f"{url}/dlr", report_tries=2) as mitto:
        receiver.status = 500
        await call(f"{mitto.url}/sms", classic())
        await until(lambda: mitto.ledger().reports.get("dlr_given_up") == 1)
        assert receiver.refused == 2


async def test_paused_reports_wait() -> None:
    async with receiving() as (receiver, url), fake(dlr_url=f"{url}/dlr", reports_paused=True) as mitto:
        await call(f"{mitto.url}/sms", classic())
        await asyncio.sleep(0.05)
        assert receiver.got == []
        mitto.control(reports_paused=False)
        await until(lambda: len(receiver.got) == 1)


async def test_duplicated_shuffled_and_failed_reports() -> None:
    knobs = {"duplicate_rate": 1.0, "shuffle_ms": 200, "undelivered_rate": 1.0, "seed": 4}
    async with receiving() as (receiver, url), fake(dlr_url=f"{url}/dlr", **knobs) as mitto:
        for number in range(10):
            await call(f"{mitto.url}/sms", classic(reference=f"{number}"))
        await until(lambda: len(receiver.got) == 20)
    order = [fields["reference"] for fields in receiver.fields()]
    assert sorted(order) == sorted([str(number) for number in range(10)] * 2)
    assert order != sorted(order)
    assert {fields["status"] for fields in receiver.fields()} == {"Failure"}


async def test_an_inbound_text_on_request() -> None:
    async with receiving() as (receiver, url), fake(inbound_url=f"{url}/mo") as mitto:
        status, body = await call(f"{mitto.url}/inbound", {"from": PLAIN, "to": "447700900123", "text": "Stop"})
        await until(lambda: bool(receiver.got))
    assert status == 202
    (fields,) = receiver.fields("/mo")
    assert (fields["from"], fields["text"], fields["id"]) == (PLAIN, "Stop", body["id"])


# ---- as a process


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "smsblossom.sandbox.mitto", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            line = await asyncio.to_thread(running.stdout.readline)
            assert line.startswith("fake Mitto listening on http://127.0.0.1:")
            yield running, line.split()[-1]
        finally:
            running.kill()


async def test_the_ledger_survives_a_kill(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    async with process("--ledger-file", str(file)) as (running, url):
        ids = [(await call(f"{url}/sms", classic(reference=f"m-{number}")))[1]["id"] for number in range(5)]
        os.kill(running.pid, signal.SIGKILL)
    assert [text.id for text in read_ledger_file(file)] == ids
    with file.open("ab") as cut:
        cut.write(b'{"seq": 99, "at"')
    async with process("--ledger-file", str(file), "--control", '{"text_length": "int"}') as (running, url):
        ids.append((await call(f"{url}/sms", classic()))[1]["id"])
        async with aiohttp.ClientSession() as session:
            texts = (await fetch_ledger(session, url)).texts
        running.terminate()
        assert await asyncio.to_thread(running.wait, 10) == 0
    assert [text.id for text in texts] == ids == [text.id for text in read_ledger_file(file)]
    assert [text.seq for text in texts] == sorted({text.seq for text in texts})
