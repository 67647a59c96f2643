"""Delivery: what each answer of the provider makes of a text, and what its reports and inbound texts may do."""

import asyncio
import io
from typing import Any
from uuid import UUID, uuid4

import pytest

from smsblossom.sandbox import phones
from smsblossom.sandbox.mitto_knobs import Knobs
from tests.support.orders import body_of, new_order
from tests.support.running import PATIENCE_S, Service, Shop

NOT_OURS = ("ignored", "no message of ours")
NO_REPORT = ("rejected", "no item names a message")


def callback(service: Service, kind: str, token: str | None = None) -> str:
    return f"{service.url}/webhooks/mitto/{token or service.runtime.settings.mitto_callback_token}/{kind}"


async def told(service: Service, kind: str, **request: Any) -> list[tuple[str, str | None]]:
    """Call back with this request, be answered 200, and wait for the ends of the inbox rows that it made."""
    request_id = uuid4().hex
    method = request.pop("method", "POST")
    headers = {"X-Request-Id": request_id, **request.pop("headers", {})}
    async with service.session.request(method, callback(service, kind), headers=headers, **request) as response:
        assert response.status == 200
    query = "SELECT state, reason FROM webhook_events WHERE request_id = $1"
    async with asyncio.timeout(PATIENCE_S):
        while any(row["state"] == "received" for row in await service.rows.fetch(query, request_id)):
            await asyncio.sleep(0.01)
    return [(row["state"], row["reason"]) for row in await service.rows.fetch(query, request_id)]


async def test_every_magic_number_ends_as_it_should(service: Service, shop: Shop) -> None:
    """Each ending at once: what was refused, what nobody can say, and what a report settles."""
    numbers = {ending: phones.magic(ending, 40) for ending in range(1, 9) if ending != 6}
    orders = {ending: new_order(service.now(), phone) for ending, phone in numbers.items()}
    for order in orders.values():
        assert (await shop.post("orders/create", body_of(order)))[0] == 200
    subjects = {f"order:{order.id}": ending for ending, order in orders.items()}

    async def ends() -> dict[int, tuple[str, str | None]]:
        rows = await shop.fetch("messages")
        return {subjects[row["subject"]]: (row["state"], row["error_code"]) for row in rows}

    expected = {
        1: ("delivered", None),
        2: ("refused", "mitto_8"),
        3: ("delivered", None),
        4: ("delivered", "http_429"),
        5: ("delivered", None),
        7: ("delivered", "http_500"),
        8: ("unknown", "http_500"),
    }
    try:
        async with asyncio.timeout(PATIENCE_S):
            while {ending: state for ending, (state, _) in (await ends()).items()} != {
                ending: state for ending, (state, _) in expected.items()
            }:
                await asyncio.sleep(0.02)
    except TimeoutError:
        assert await ends() == expected
    await shop.settled()
    assert {ending: state for ending, (state, _) in (await ends()).items()} == {e: s for e, (s, _) in expected.items()}
    attempts = {subjects[row["subject"]]: row["attempts"] for row in await shop.fetch("messages")}
    assert attempts == {1: 1, 2: 1, 3: 1, 4: 3, 5: 1, 7: 1, 8: 1}
    accepted = [text.to for text in await shop.texts()]
    assert sorted(accepted) == sorted(numbers[ending].removeprefix("+") for ending in (1, 3, 4, 5, 7))


@pytest.mark.parametrize("method", ["get", "form", "json", "array"])
@pytest.mark.parametrize("names", ["short", "long", "pascal"])
async def test_a_report_is_read_in_every_form(service: Service, shop: Shop, method: str, names: str) -> None:
    usual = Knobs()
    service.mitto.control(callback_method=method, callback_names=names)
    try:
        await shop.taken("orders/create", body_of(new_order(service.now(), phones.plain(750))))
        await shop.settled(reported=True)
    finally:
        service.mitto.control(callback_method=usual.callback_method, callback_names=usual.callback_names)
    assert [row["state"] for row in await shop.fetch("messages")] == ["delivered"]


async def test_the_shops_own_sender_is_used(service: Service) -> None:
    shop = await service.new_shop(sender="Ada Shop")
    await shop.taken("orders/create", body_of(new_order(service.now(), phones.plain(751))))
    assert [text.sender for text in await shop.texts()] == ["Ada Shop"]


class TestReports:
    """Receipts only move a row forward; what names no text of ours is kept and said so."""

    async def sent(self, service: Service, shop: Shop) -> str:
        await shop.taken("orders/create", body_of(new_order(service.now(), phones.plain(752))))
        await shop.settled(reported=True)
        (row,) = await shop.fetch("messages")
        return str(row["id"])

    async def test_a_late_word_does_not_move_it_back(self, service: Service, shop: Shop) -> None:
        reference = await self.sent(service, shop)
        for status in ("Sent", "Failure", "Expired", "Whatever"):
            found = await told(service, "dlr", json={"reference": reference, "status": status, "id": uuid4().hex})
            assert found == [("processed", None)]
        assert [row["state"] for row in await shop.fetch("messages")] == ["delivered"]
        assert [row["kind"] for row in await shop.fetch("message_events")].count("receipt") == 5

    async def test_the_same_report_again_is_dropped(self, service: Service, shop: Shop) -> None:
        report = {"reference": await self.sent(service, shop), "status": "Sent", "id": "same"}
        assert await told(service, "dlr", json=report) == [("processed", None)]
        assert await told(service, "dlr", json=report) == []

    async def test_one_request_may_carry_many(self, service: Service, shop: Shop) -> None:
        reference = await self.sent(service, shop)
        reports = [{"reference": reference, "status": "Sent", "id": f"{n}-{uuid4().hex}"} for n in range(3)]
        assert await told(service, "dlr", json=[*reports, {"reference": "nobody", "status": "Sent"}]) == [
            ("processed", None)
        ]
        assert [row["kind"] for row in await shop.fetch("message_events")].count("receipt") == 4

    @pytest.mark.parametrize(
        ("fields", "end"),
        [
            pytest.param({"reference": str(UUID(int=7)), "status": "Delivered"}, NOT_OURS, id="not ours"),
            pytest.param({"reference": "x", "status": "Delivered"}, NOT_OURS, id="no uuid"),
            pytest.param({"id": "0123abcd", "status": "Delivered"}, NOT_OURS, id="only an id"),
            pytest.param({"status": "Delivered"}, NO_REPORT, id="names nothing"),
            pytest.param({"reference": str(UUID(int=8))}, NO_REPORT, id="says nothing"),
            pytest.param([], NO_REPORT, id="an empty list"),
            pytest.param("text", NO_REPORT, id="a string"),
        ],
    )
    async def test_what_is_no_report_of_ours(self, service: Service, fields: Any, end: tuple[str, str]) -> None:
        assert await told(service, "dlr", json=fields) == [end]

    @pytest.mark.parametrize(
        "body", [b"", b"\x00", b"{", b"[" * 100_000, b"\xff\xfe", b'{"status": "\\ud800", "reference": "\\u0000"}']
    )
    @pytest.mark.parametrize("kind", ["dlr", "inbound"])
    async def test_garbage_is_rejected_with_a_reason(self, service: Service, kind: str, body: bytes) -> None:
        found = await told(service, kind, data=body, headers={"X-Nonce": uuid4().hex, "Content-Type": "text/plain"})
        assert {(state, bool(reason)) for state, reason in found} <= {("rejected", True), ("ignored", True)}


class TestDoor:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize("kind", ["dlr", "inbound"])
    @pytest.mark.parametrize("token", ["wrong-token-of-nobody", "%C3%A9", "%00", "x" * 500])
    async def test_a_wrong_token_is_404(self, service: Service, method: str, kind: str, token: str) -> None:
        async with service.session.request(method, callback(service, kind, token)) as response:
            assert response.status == 404

    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    async def test_other_methods_are_405(self, service: Service, method: str) -> None:
        async with service.session.request(method, callback(service, "dlr")) as response:
            assert response.status == 405

    async def test_a_body_over_a_mebibyte_is_413(self, service: Service) -> None:
        async with service.session.post(
            callback(service, "dlr"), data=io.BytesIO(b" " * (1024 * 1024 + 1))
        ) as response:
            assert response.status == 413

    async def test_two_equal_texts_are_two_texts(self, service: Service) -> None:
        shop, phone = await service.new_shop(sender="12025550195"), phones.plain(753)
        await shop.taken("orders/create", body_of(new_order(service.now(), phone)))
        for _ in range(2):
            fields = {"from": phone, "to": "12025550195", "text": "STOP"}
            assert await told(service, "inbound", params=fields, method="GET") == [("processed", None)]
        assert len(await shop.fetch("inbound_messages")) == 2
        assert len(await shop.fetch("suppressions")) == 1

    async def test_a_repeated_id_is_one_text(self, service: Service) -> None:
        shop, phone = await service.new_shop(sender="12025550196"), phones.plain(754)
        await shop.taken("orders/create", body_of(new_order(service.now(), phone)))
        for _ in range(2):
            fields = {"from": phone, "to": "12025550196", "text": "Hello", "id": "mo-same"}
            assert await told(service, "inbound", json=fields) == [("processed", None)]
        ((row),) = await shop.fetch("inbound_messages")
        assert shop.open(row["body_sealed"]) == "Hello"

    async def test_the_raw_callback_is_forgotten_once_its_shop_has_it(self, service: Service) -> None:
        shop, phone = await service.new_shop(sender="12025550197"), phones.plain(755)
        await shop.taken("orders/create", body_of(new_order(service.now(), phone)))
        request_id = uuid4().hex
        fields = {"from": phone, "to": "12025550197", "text": "Hello"}
        await told(service, "inbound", json=fields, headers={"X-Request-Id": request_id})
        async with asyncio.timeout(PATIENCE_S):
            while not await shop.fetch("inbound_messages"):
                await asyncio.sleep(0.01)
        query = "SELECT body_sealed FROM webhook_events WHERE request_id = $1 AND state = 'processed'"
        async with asyncio.timeout(PATIENCE_S):
            while not (rows := await service.rows.fetch(query, request_id)):
                await asyncio.sleep(0.01)
        assert [row["body_sealed"] for row in rows] == [None]


async def test_the_text_the_provider_gets(service: Service, shop: Shop) -> None:
    """Digits without a plus, our own type, the message id as reference, minutes of validity, our callback."""
    await shop.taken("orders/create", body_of(new_order(service.now(), phones.plain(756), currency="EUR")))
    (text,) = await shop.texts()
    (row,) = await shop.fetch("messages")
    assert text.to == phones.plain(756).removeprefix("+")
    assert (text.reference, text.type.lower()) == (str(row["id"]), row["encoding"].lower())
    assert text.text.startswith("Ada's Shop: thank you, Robin! We have your order #")
    assert text.parts == row["parts"]
    assert text.validity is not None
    assert 350 <= text.validity <= 360
    assert text.callback == callback(service, "dlr")
