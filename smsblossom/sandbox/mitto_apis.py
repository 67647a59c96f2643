"""The two HTTP APIs of Mitto as pure functions: raw body to submissions, results to an answer.

Shapes follow the public documents: classic `/sms` and `/smsbulk`, Messaging v1.1 `/Messages/send` and
`/sendmessagesbulk`. A body that cannot be read raises `msgspec.DecodeError`, which is HTTP 400 on both.
What the documents leave open and this fake decides: a classic bulk call is refused as a whole, because its answer maps
by position and has no room for a refusal; Messaging refuses a single text with HTTP 400 and `errors`.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from smsblossom.sandbox.mitto_callbacks import dotnet_timestamp
from smsblossom.sandbox.mitto_ledger import Text
from smsblossom.sandbox.mitto_rules import RESPONSE_TEXT, Submission

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

Result = Text | int
"""An accepted text, or the response code that refused it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Results by position, with what the rendering needs besides."""

    results: list[Result]
    submissions: list[Submission]
    at: datetime
    length_as_string: bool


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One POST route; `whole` means that one refused text refuses the call."""

    path: str
    api: str
    decode: Callable[[bytes], list[Submission]]
    render: Callable[[Reply], tuple[int, dict[str, Any]]]
    new_id: Callable[[datetime], str]
    whole: bool


class _Classic(msgspec.Struct):
    to: str = ""
    sender: str = msgspec.field(name="from", default="")
    text: str = ""
    type: str = "GSM"
    reference: str | None = None
    callback: str | None = None
    validity: int | None = None
    test: bool = False


class _ClassicBulk(_Classic):
    to: str | list[str] = ""  # type: ignore[assignment]  # documents say a comma-separated string, callers post arrays


class _Sms(msgspec.Struct):
    text: str
    sender: str


class _Message(msgspec.Struct, rename="camel"):
    traffic_account_id: uuid.UUID
    destination: str
    sms: _Sms
    reference: str | None = None


class _Messages(msgspec.Struct):
    messages: list[_Message] = msgspec.field()


_CLASSIC = msgspec.json.Decoder(_Classic)
_CLASSIC_BULK = msgspec.json.Decoder(_ClassicBulk)
_MESSAGE = msgspec.json.Decoder(_Message)
_MESSAGES = msgspec.json.Decoder(_Messages)


def _classic(body: _Classic, to: str) -> Submission:
    return Submission(
        to=to,
        sender=body.sender,
        text=body.text,
        type=body.type,
        reference=body.reference,
        callback=body.callback,
        validity=body.validity,
        test=body.test,
    )


def _decode_classic(raw: bytes) -> list[Submission]:
    body = _CLASSIC.decode(raw)
    return [_classic(body, body.to)]


def _decode_classic_bulk(raw: bytes) -> list[Submission]:
    body = _CLASSIC_BULK.decode(raw)
    receivers = body.to if isinstance(body.to, list) else [one.strip() for one in body.to.split(",")]
    return [_classic(body, to) for to in receivers or [""]]


def _messaging(body: _Message) -> Submission:
    return Submission(
        to=body.destination.removeprefix("+"),
        sender=body.sms.sender,
        text=body.sms.text,
        type="auto",
        reference=body.reference,
        plus_missing=not body.destination.startswith("+"),
    )


def _decode_message(raw: bytes) -> list[Submission]:
    return [_messaging(_MESSAGE.decode(raw))]


def _decode_messages(raw: bytes) -> list[Submission]:
    messages = _MESSAGES.decode(raw).messages
    if not messages:
        raise msgspec.ValidationError("messages is empty")
    return [_messaging(message) for message in messages]


def _refused(code: int, at: datetime) -> dict[str, Any]:
    return {"timestamp": dotnet_timestamp(at), "responseCode": code, "responseText": RESPONSE_TEXT[code]}


def _render_classic(reply: Reply) -> tuple[int, dict[str, Any]]:
    """HTTP 200 also for a refusal. `textLength` is documented both as 13 and as " 13"."""
    result = reply.results[0]
    if isinstance(result, int):
        return 200, _refused(result, reply.at)
    length = len(result.text)
    answer = {
        "id": result.id,
        "timestamp": dotnet_timestamp(reply.at),
        "responseCode": 0,
        "textLength": f" {length}" if reply.length_as_string else length,
        "responseText": RESPONSE_TEXT[0],
    }
    return 200, {**answer, "test": True} if reply.submissions[0].test else answer


def _render_classic_bulk(reply: Reply) -> tuple[int, dict[str, Any]]:
    """No number is echoed: the caller maps by position."""
    code = next((result for result in reply.results if isinstance(result, int)), None)
    if code is not None:
        return 200, _refused(code, reply.at)
    at = dotnet_timestamp(reply.at)
    messages = [{"id": result.id, "timestamp": at} for result in reply.results if isinstance(result, Text)]
    return 200, {"responseCode": 0, "responseText": RESPONSE_TEXT[0], "messages": messages}


def _entry(result: Result) -> dict[str, Any]:
    if isinstance(result, int):
        return {"error": RESPONSE_TEXT[result]}
    return {"messageId": result.id}


def _render_message(reply: Reply) -> tuple[int, dict[str, Any]]:
    result = reply.results[0]
    if isinstance(result, int):
        return 400, {"errors": [{"code": result, "message": RESPONSE_TEXT[result]}]}
    return 200, {"messages": [_entry(result)]}


def _render_messages(reply: Reply) -> tuple[int, dict[str, Any]]:
    """An entry without `messageId` is a refusal of that text alone."""
    return 200, {"bulkId": str(uuid.uuid4()), "messages": [_entry(result) for result in reply.results]}


def render_lookup(text: Text) -> dict[str, Any]:
    """`GET /api/v1.1/Messages/{id}`."""
    return {
        "messageId": text.id,
        "text": text.text,
        "sender": {"id": text.sender, "name": text.sender},
        "deliveryStatus": text.status,
        "messageParts": text.parts,
        "reference": text.reference,
        "createdAt": dotnet_timestamp(text.at),
        "updatedAt": dotnet_timestamp(text.at),
    }


def _hex_id(_: datetime) -> str:
    return secrets.token_hex(16)


def _ulid(at: datetime) -> str:
    number = int(at.timestamp() * 1000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> 5 * place & 31] for place in range(25, -1, -1))


ENDPOINTS = (
    Endpoint("/sms", "classic", _decode_classic, _render_classic, _hex_id, whole=True),
    Endpoint("/smsbulk", "classic", _decode_classic_bulk, _render_classic_bulk, _hex_id, whole=True),
    Endpoint("/api/v1.1/Messages/send", "messaging", _decode_message, _render_message, _ulid, whole=True),
    Endpoint(
        "/api/v1.1/Messages/sendmessagesbulk", "messaging", _decode_messages, _render_messages, _ulid, whole=False
    ),
)
