"""What a text costs on the air: GSM-7 or UCS-2, exact parts, and cheaper spellings of the same words.

Sizes follow 3GPP TS 23.038 and 23.040 with an 8-bit concatenation reference, as Mitto documents: 160 septets or
70 UTF-16 units alone, 153 or 67 per part of a longer text. ESC is never content: a text that holds one goes as UCS-2.
"""

import re
import unicodedata
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

WARN_ABOVE_PARTS, REFUSE_ABOVE_PARTS = 3, 10

_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = "\f^{}\\[~]|€"
_NOT_GSM = re.compile(f"[^{re.escape(_BASIC + _EXTENSION)}]")
# What a reader sees as one sign: a flag of two letters, or a base with its marks, joined to more by U+200D.
_MARKS = "[\u0300-\u036f\u20d0-\u20ff\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*"
_CLUSTER = re.compile(f"[\U0001f1e6-\U0001f1ff]{{2}}|.{_MARKS}(?:\u200d.{_MARKS})*", re.DOTALL)
_URL = re.compile(r"((?:https?://|www\.|(?<![\w.-])[\w-]+(?:\.[\w-]+)+/)\S*[^\s”“’»›…)\].,;:!?])", re.IGNORECASE)
_SPELLED = {chr(0xFEE0 + ascii_): chr(ascii_) for ascii_ in range(0x21, 0x7F)} | {
    **dict.fromkeys("“”„‟″«»", '"'),
    **dict.fromkeys("‘’‚‛′‹›`´ʼ｀", "'"),
    **dict.fromkeys("‐‑‒–—―−", "-"),
    **dict.fromkeys("\t\u00a0\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))), " "),
    **dict.fromkeys("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff", ""),
    **dict.fromkeys("\u2028\u2029\u0085", "\n"),
    **dict(zip("…⁄•ﬁﬂ", ("...", "/", "-", "fi", "fl"), strict=True)),
}
_BEYOND_SPELLING = re.compile(f"[^{re.escape(_BASIC + _EXTENSION + ''.join(_SPELLED))}\u0300-\u036f]")
_SPELLABLE = re.compile(f"[{re.escape(''.join(_SPELLED))}]|\\w[\u0300-\u036f]+")
_GREEK = re.compile("[\u0370-\u03ff\u1f00-\u1fff][\u0300-\u036f]*")
_LOOK_ALIKE = str.maketrans("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEZHIKMNOPTYX")


class Encoding(StrEnum):
    """The alphabet of a text, in Mitto's words for `type`."""

    GSM7 = "GSM"
    UCS2 = "Unicode"


@dataclass(frozen=True, slots=True)
class Measure:
    """`units` are septets (GSM-7, an extension character is two) or UTF-16 units (UCS-2); an empty text has no part."""

    encoding: Encoding
    units: int
    parts: int


@dataclass(frozen=True, slots=True)
class Smart:
    """A text after smart replacement, and each distinct (was, is) pair in order of first appearance."""

    text: str
    replaced: tuple[tuple[str, str], ...] = ()


class UnencodableTextError(ValueError):
    """The text holds a lone surrogate, which no encoding can carry. The message never quotes the text."""


def measure(text: str) -> Measure:
    """Count what the network will bill: no pair straddles two parts. Raises `UnencodableTextError`."""
    if _NOT_GSM.search(text) is None:
        for character in _EXTENSION:
            text = text.replace(character, "\x1b" + character)
        return Measure(Encoding.GSM7, len(text), _parts(text, "\x1b", alone=160, part=153))
    try:
        high_bytes = text.encode("utf-16-be")[::2]
    except UnicodeEncodeError:
        raise UnencodableTextError("lone surrogate in text") from None
    return Measure(Encoding.UCS2, len(high_bytes), _parts(high_bytes, range(0xD8, 0xDC), alone=70, part=67))


def split(text: str) -> tuple[str, ...]:
    """The texts of the parts; joined they are `text`, and there are `measure(text).parts` of them.

    Flags, ZWJ sequences and letters with marks stay together, unless one is longer than a part or that would cost a
    part more than the network's own cut. Raises `UnencodableTextError`.
    """
    measured = measure(text)
    if measured.parts <= 1:
        return (text,) * measured.parts
    if measured.encoding is Encoding.GSM7:
        return _fill(text, room=153, size=lambda character: 1 + (character in _EXTENSION))
    clusters = [piece for c in _CLUSTER.findall(text) for piece in ([c] if _utf16(c) <= 67 else c)]
    together = _fill(clusters, room=67, size=_utf16)
    return together if len(together) == measured.parts else _fill(text, room=67, size=_utf16)


def smart(text: str) -> Smart:
    """Replace typographic signs by GSM-7 ones: only if the whole text then is GSM-7 and costs no more parts.

    URLs stay as they are. Decomposed letters (e + U+0301) are composed. Raises `UnencodableTextError`.
    """
    before = measure(text)
    if before.encoding is Encoding.GSM7 or _BEYOND_SPELLING.search(text) is not None:
        return Smart(text)
    signs = [sign for prose in _URL.split(text)[::2] for sign in _SPELLABLE.findall(prose)]
    replaced = {sign: _SPELLED.get(sign, unicodedata.normalize("NFC", sign)) for sign in signs}
    spelled = _outside_urls(text, lambda prose: _SPELLABLE.sub(lambda sign: replaced[sign[0]], prose))
    after = measure(spelled)
    gain = after.encoding is Encoding.GSM7 and after.parts <= before.parts
    return Smart(spelled, tuple(replaced.items())) if gain else Smart(text)


def greek_capitals(text: str) -> str:
    """Greek letters outside URLs as bare capitals, in GSM-7's Greek or the Latin look-alike; all else stays."""
    return _outside_urls(text, lambda prose: _GREEK.sub(lambda letter: _bare_capital(letter[0]), prose))


def _parts(units: Sequence[object], leads: Container[object], *, alone: int, part: int) -> int:
    """Jump from cut to cut; a unit in `leads` is the first of a pair."""
    if len(units) <= alone:
        return min(len(units), 1)
    parts = at = 0
    while at < len(units):
        at += part
        at -= at < len(units) and units[at - 1] in leads
        parts += 1
    return parts


def _utf16(piece: str) -> int:
    return len(piece.encode("utf-16-be")) // 2


def _fill(pieces: Iterable[str], *, room: int, size: Callable[[str], int]) -> tuple[str, ...]:
    parts, free = [""], room
    for piece in pieces:
        if (units := size(piece)) > free:
            parts, free = [*parts, ""], room
        parts[-1] += piece
        free -= units
    return tuple(parts)


def _bare_capital(letter: str) -> str:
    return unicodedata.normalize("NFD", letter)[0].upper().translate(_LOOK_ALIKE)


def _outside_urls(text: str, change: Callable[[str], str]) -> str:
    return "".join(piece if i % 2 else change(piece) for i, piece in enumerate(_URL.split(text)))
