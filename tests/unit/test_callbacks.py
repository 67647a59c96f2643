"""Reports and inbound texts in every spelling that Mitto is known or thought to use."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsblossom.domain.receipts import ReceiptState
from smsblossom.sms.callbacks import MOST_ITEMS, UnusableCallback, inbound, receipts
from smsblossom.sms.provider import Callback, Inbound, Receipt

AT = datetime(2026, 11, 22, 17, 51, 6, 309118, tzinfo=UTC)
REPORT = Receipt("m-1", "7d35", ReceiptState.DELIVERED, "0", AT)
TEXT = Inbound("mo-1", "12025550101", "Blossom", "STOP", AT)
STAMP = "2026-11-22T17:51:06.3091182Z"
SPELLINGS: dict[str, dict[str, Any]] = {
    "short": {"reference": "m-1", "id": "7d35", "status": "Delivered", "errorCode": "0", "timestamp": STAMP},
    "long": {"reference": "m-1", "messageId": "7d35", "deliveryStatus": "DELIVRD", "error_code": 0, "updatedAt": STAMP},
    "pascal": {
        "Reference": "m-1",
        "MessageId": "7d35",
        "DeliveryStatus": "delivered",
        "ErrorCode": "0",
        "Timestamp": STAMP,
    },
    "snake": {
        "client_reference": "m-1",
        "message_id": "7d35",
        "delivery_status": "delivered",
        "error": "0",
        "time": STAMP,
    },
    "kebab": {
        "custom-reference": "m-1",
        "message-id": "7d35",
        "dlr-status": "Delivered",
        "code": "0",
        "done-date": STAMP,
    },
}


def as_json(fields: Any) -> Callback:
    return Callback("POST", {}, "application/json", msgspec.json.encode(fields))


def as_query(fields: dict[str, Any]) -> Callback:
    return Callback("GET", {name: str(value) for name, value in fields.items()}, "application/octet-stream", b"")


def as_form(fields: dict[str, Any]) -> Callback:
    return Callback("POST", {}, "application/x-www-form-urlencoded", urlencode(fields).encode())


def as_form_without_a_type(fields: dict[str, Any]) -> Callback:
    return Callback("POST", {}, "text/plain", urlencode(fields).encode())


def as_array(fields: dict[str, Any]) -> Callback:
    return as_json([fields])


def wrapped(fields: dict[str, Any]) -> Callback:
    return as_json({"messages": [fields]})


FORMS = [as_json, as_query, as_form, as_form_without_a_type, as_array, wrapped]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_report(spelling: str, form: Any) -> None:
    assert receipts(form(SPELLINGS[spelling])) == [REPORT]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "fields",
    [
        {"id": "mo-1", "from": "12025550101", "to": "Blossom", "text": "STOP", "timestamp": STAMP},
        {
            "messageId": "mo-1",
            "msisdn": "12025550101",
            "destination": "Blossom",
            "message": "STOP",
            "receivedAt": STAMP,
        },
        {"Message_Id": "mo-1", "Sender": "12025550101", "ShortCode": "Blossom", "Body": "STOP", "createdAt": STAMP},
    ],
)
def test_a_text(fields: dict[str, Any], form: Any) -> None:
    assert inbound(form(fields)) == [TEXT]


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("Delivered", ReceiptState.DELIVERED),
        ("DELIVRD", ReceiptState.DELIVERED),
        ("Sent", ReceiptState.SENT),
        ("Buffered", ReceiptState.SENT),
        ("ACCEPTD", ReceiptState.SENT),
        ("En-Route", ReceiptState.SENT),
        ("Failure", ReceiptState.FAILED),
        ("REJECTD", ReceiptState.FAILED),
        ("Undeliverable", ReceiptState.UNDELIVERED),
        ("not_delivered", ReceiptState.UNDELIVERED),
        ("UNDELIV", ReceiptState.UNDELIVERED),
        ("Expired", ReceiptState.EXPIRED),
        ("Schrödinger", ReceiptState.UNRECOGNIZED),
        ("1", ReceiptState.UNRECOGNIZED),
    ],
)
def test_status_words(word: str, state: ReceiptState) -> None:
    assert [receipt.state for receipt in receipts(as_json({"id": "7d35", "status": word}))] == [state]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"status": "Delivered"}, id="names no message"),
        pytest.param({"id": "", "reference": " ", "status": "Delivered"}, id="blank names"),
        pytest.param({"id": "7d35"}, id="no status"),
        pytest.param({"id": {"x": 1}, "status": "Delivered"}, id="an object for an id"),
        pytest.param({"id": True, "status": "Delivered"}, id="a switch for an id"),
        pytest.param([], id="nothing"),
        pytest.param([[], "x", None, 5], id="no objects"),
        pytest.param("Delivered", id="a word"),
    ],
)
def test_what_is_no_report(fields: Any) -> None:
    with pytest.raises(UnusableCallback):
        receipts(as_json(fields))


@pytest.mark.parametrize("fields", [{"from": "1"}, {"text": "STOP"}, {"from": " ", "text": "STOP"}, {}])
def test_what_is_no_text(fields: dict[str, str]) -> None:
    with pytest.raises(UnusableCallback):
        inbound(as_json(fields))


def test_an_empty_text_is_a_text_and_a_long_one_has_an_end() -> None:
    assert inbound(as_json({"from": "1", "text": ""}))[0].text == ""
    assert len(inbound(as_json({"from": "1", "text": "x" * 5000}))[0].text) == 2000


def test_a_request_of_many_is_read_up_to_a_limit() -> None:
    many = [{"id": str(n), "status": "Sent"} for n in range(MOST_ITEMS + 5)]
    found = receipts(as_json(many))
    assert [receipt.provider_id for receipt in found] == [str(n) for n in range(MOST_ITEMS)]


def test_good_items_are_read_beside_bad_ones() -> None:
    assert receipts(as_json([{"x": 1}, SPELLINGS["short"], None])) == [REPORT]


def test_nothing_that_postgresql_cannot_keep_gets_through() -> None:
    (text,) = inbound(Callback("POST", {}, "application/json", b'{"from": "1", "text": "a\\u0000b"}'))
    assert text.text == "ab"
    (receipt,) = receipts(as_query({"id": "7\x00d", "status": "Sent"}))
    assert receipt.provider_id == "7d"


@given(st.binary(max_size=300), st.sampled_from(["application/json", "application/x-www-form-urlencoded", ""]))
def test_any_bytes_are_items_or_unusable(body: bytes, content_type: str) -> None:
    for read in (receipts, inbound):
        try:
            found: list[Any] = read(Callback("POST", {}, content_type, body))
        except UnusableCallback:
            continue
        assert found


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b'{"id": "\xff", "status": "Sent"}'])
def test_hostile_bytes_are_unusable(body: bytes) -> None:
    with pytest.raises(UnusableCallback):
        receipts(Callback("POST", {}, "application/json", body))
