"""What the fake Mitto thinks of one text: pure rules, written from the public documents and from nothing of ours.

Codes 0-8 are those of the classic API. Where the documents leave room the strictest reading is taken, so that a caller
that passes here passes there: digits without a plus on the classic API, with a plus on Messaging v1.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import ceil

GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENSION = "\f^{}\\[~]|€"
GSM_ALL = GSM_BASIC.union(GSM_EXTENSION)

RESPONSE_TEXT = {
    0: "SMS sent",
    1: "Internal error",
    2: "Invalid type",
    3: "Empty message",
    4: "Text is invalid for the given encoding",
    5: "Empty sender",
    6: "Invalid sender",
    7: "Empty receiver",
    8: "Invalid receiver",
}

_TYPES = frozenset({"gsm", "unicode", "binary", "byte", "auto"})
_NUMERIC_SENDER = re.compile(r"[0-9]{3,14}")
_NAMED_SENDER = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ._&-]{3,11}")
_RECEIVER = re.compile(r"[1-9][0-9]{6,14}")


class Magic(Enum):
    """What the last two digits of a receiver make the fake do; every other number behaves like DELIVERED."""

    DELIVERED = "01"
    INVALID_RECEIVER = "02"
    ACCEPT_AND_HANG = "03"
    BUSY_TWICE = "04"
    LATE_REPORT = "05"
    REPLIES_STOP = "06"
    ERROR_AFTER = "07"
    ERROR_BEFORE = "08"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One text as the caller submitted it, whichever API it came by; `to` has no plus sign."""

    to: str
    sender: str
    text: str
    type: str = "GSM"
    reference: str | None = None
    callback: str | None = None
    validity: int | None = None
    test: bool = False
    plus_missing: bool = False


def magic_of(to: str) -> Magic:
    """The behaviour that the last two digits ask for."""
    try:
        return Magic(to[-2:])
    except ValueError:
        return Magic.DELIVERED


def refusal(text: Submission) -> int | None:
    """The first response code 2-8 that refuses this text, in the order of the codes; None when it is accepted."""
    kind = text.type.lower()
    checks = (
        (2, kind not in _TYPES),
        (3, not text.text.strip()),
        (4, not _encodable(text.text, kind)),
        (5, not text.sender.strip()),
        (6, not (_NUMERIC_SENDER.fullmatch(text.sender) or _NAMED_SENDER.fullmatch(text.sender))),
        (7, not text.to),
        (8, text.plus_missing or not _RECEIVER.fullmatch(text.to)),
        (8, magic_of(text.to) is Magic.INVALID_RECEIVER),
    )
    return next((code for code, wrong in checks if wrong), None)


def parts(text: str) -> int:
    """How many SMS parts the network would carry: 160 then 153 septets, or 70 then 67 UTF-16 units."""
    if GSM_ALL.issuperset(text):
        return _count(text, _septets, single=160, long=153)
    return _count(text, _utf16_units, single=70, long=67)


def _septets(char: str) -> int:
    return 2 if char in GSM_EXTENSION else 1


def _utf16_units(char: str) -> int:
    return 2 if ord(char) > 0xFFFF else 1


def _count(text: str, width: Callable[[str], int], *, single: int, long: int) -> int:
    """A pair (escape or surrogate) never straddles two parts, so long texts are filled character by character."""
    widths = [width(char) for char in text]
    total = sum(widths)
    if total <= single:
        return 1
    if total == len(widths):
        return ceil(total / long)
    count, used = 1, 0
    for each in widths:
        if used + each > long:
            count, used = count + 1, 0
        used += each
    return count


def _encodable(text: str, kind: str) -> bool:
    match kind:
        case "gsm":
            return GSM_ALL.issuperset(text)
        case "binary" | "byte":
            return re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", text) is not None
        case _:
            return True
