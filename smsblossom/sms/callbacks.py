"""Mitto's reports and inbound texts: GET query, form or JSON, object or array, field names in any case.

The field names of the classic API are not published, so every documented and observed spelling is read; the raw
request is kept beside what was understood.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from smsblossom.domain.receipts import ReceiptState
from smsblossom.sms.provider import Callback, Inbound, Receipt

MOST_ITEMS: Final = 1000
_REFERENCE: Final = ("reference", "clientreference", "customreference")
_ID: Final = ("messageid", "id", "msgid")
_STATUS: Final = ("deliverystatus", "status", "state", "dlrstatus")
_CODE: Final = ("errorcode", "error", "code", "description")
_TIME: Final = ("timestamp", "updatedat", "donedate", "time", "createdat", "receivedat")
_FROM: Final = ("from", "msisdn", "sender", "originator", "source")
_TO: Final = ("to", "destination", "recipient", "receiver", "shortcode")
_TEXT: Final = ("text", "message", "body", "content")
_WORDS: Final = {
    "delivered": ReceiptState.DELIVERED,
    "delivrd": ReceiptState.DELIVERED,
    "sent": ReceiptState.SENT,
    "accepted": ReceiptState.SENT,
    "acceptd": ReceiptState.SENT,
    "buffered": ReceiptState.SENT,
    "enroute": ReceiptState.SENT,
    "pending": ReceiptState.SENT,
    "queued": ReceiptState.SENT,
    "failure": ReceiptState.FAILED,
    "failed": ReceiptState.FAILED,
    "rejected": ReceiptState.FAILED,
    "rejectd": ReceiptState.FAILED,
    "undelivered": ReceiptState.UNDELIVERED,
    "undeliv": ReceiptState.UNDELIVERED,
    "undeliverable": ReceiptState.UNDELIVERED,
    "notdelivered": ReceiptState.UNDELIVERED,
    "expired": ReceiptState.EXPIRED,
}


class UnusableCallback(Exception):  # noqa: N818
    """Nothing in this request can be read as a report or a text."""


def receipts(callback: Callback) -> list[Receipt]:
    """The reports in this request; items that name no message are left out.

    Raises:
        UnusableCallback: no item at all.

    """
    found = [receipt for item in _items(callback) if (receipt := _receipt(item)) is not None]
    if not found:
        raise UnusableCallback("no item names a message")
    return found


def inbound(callback: Callback) -> list[Inbound]:
    """The texts in this request.

    Raises:
        UnusableCallback: no item with a sender and a text.

    """
    found = [text for item in _items(callback) if (text := _inbound(item)) is not None]
    if not found:
        raise UnusableCallback("no item has a sender and a text")
    return found


def _receipt(item: Mapping[str, str]) -> Receipt | None:
    reference, provider_id = _first(item, _REFERENCE), _first(item, _ID)
    word = _first(item, _STATUS)
    if (reference is None and provider_id is None) or word is None:
        return None
    state = _WORDS.get("".join(ch for ch in word.lower() if ch.isalpha()), ReceiptState.UNRECOGNIZED)
    code = _first(item, _CODE)
    return Receipt(reference, provider_id, state, code[:60] if code else None, _when(_first(item, _TIME)))


def _inbound(item: Mapping[str, str]) -> Inbound | None:
    sender, text = _first(item, _FROM), item.get("text", _first(item, _TEXT))
    if sender is None or text is None:
        return None
    return Inbound(_first(item, _ID), sender, _first(item, _TO) or "", text[:2000], _when(_first(item, _TIME)))


def _items(callback: Callback) -> Iterator[dict[str, str]]:
    """Every object in the request, keys folded, values as clean text; the query counts as an object too."""
    if callback.query:
        yield _fold(callback.query)
    if not callback.body:
        return
    if "form" in callback.content_type.lower():
        yield _fold(dict(_form_or_nothing(callback.body)))
        return
    try:
        decoded = msgspec.json.decode(callback.body)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        decoded = dict(_form_or_nothing(callback.body))
    for item in _unwrap(decoded)[:MOST_ITEMS]:
        if isinstance(item, dict):
            yield _fold(item)


def _unwrap(decoded: Any) -> list[Any]:
    if isinstance(decoded, list):
        return decoded
    if isinstance(decoded, dict):
        lists = [value for value in decoded.values() if isinstance(value, list)]
        return lists[0] if len(decoded) == 1 and lists else [decoded]
    return []


def _form_or_nothing(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode("utf-8", "replace"), max_num_fields=100)
    except ValueError:
        return []


def _fold(item: Mapping[Any, Any]) -> dict[str, str]:
    """Lower-case keys without separators, and scalar values as text that PostgreSQL can keep."""
    folded: dict[str, str] = {}
    for key, value in item.items():
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            folded[str(key).lower().replace("-", "").replace("_", "")] = _clean(str(value))
    return folded


def _clean(text: str) -> str:
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def _first(item: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((item[name].strip() for name in names if item.get(name, "").strip()), None)


def _when(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
