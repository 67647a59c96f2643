"""Phones: from free text to an E.164 number that can be texted, or the reason why not.

Rules of validity and type are those of `phonenumbers`; its geocoder is never loaded. A raw phone is never quoted: not
in a repr, not in an exception.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType
from phonenumbers.timezone import UNKNOWN_TIMEZONE, time_zones_for_number

from smsblossom.domain import area_codes

_TEL = re.compile(r"\s*tel:", re.IGNORECASE)
_EXTENSION = re.compile(r"(?:ext(?:ension)?|extn|x|#)\s*[.:]?\s*\d{1,7}\s*", re.IGNORECASE)


class PhoneKind(StrEnum):
    """What a textable number may be. North America does not tell mobile from fixed: that is its own kind."""

    MOBILE = "mobile"
    FIXED_LINE_OR_MOBILE = "fixed_line_or_mobile"
    VOIP = "voip"


class PhoneReason(StrEnum):
    """Why a phone cannot be texted. `UNKNOWN_REGION`: no plus sign, and no or an unknown region to read it in."""

    EMPTY = "empty"
    LETTERS = "letters"
    UNKNOWN_REGION = "unknown_region"
    UNPARSABLE = "unparsable"
    IMPOSSIBLE = "impossible"
    INVALID = "invalid"
    EXTENSION = "extension"
    FIXED_LINE = "fixed_line"
    TOLL_FREE = "toll_free"
    PREMIUM = "premium"
    SHARED_COST = "shared_cost"
    PERSONAL = "personal"
    UAN = "uan"
    PAGER = "pager"
    VOICEMAIL = "voicemail"
    VOIP = "voip"


_KINDS = {
    PhoneNumberType.MOBILE: PhoneKind.MOBILE,
    PhoneNumberType.FIXED_LINE_OR_MOBILE: PhoneKind.FIXED_LINE_OR_MOBILE,
    PhoneNumberType.VOIP: PhoneKind.VOIP,
}
_REFUSED = {
    PhoneNumberType.FIXED_LINE: PhoneReason.FIXED_LINE,
    PhoneNumberType.TOLL_FREE: PhoneReason.TOLL_FREE,
    PhoneNumberType.PREMIUM_RATE: PhoneReason.PREMIUM,
    PhoneNumberType.SHARED_COST: PhoneReason.SHARED_COST,
    PhoneNumberType.PERSONAL_NUMBER: PhoneReason.PERSONAL,
    PhoneNumberType.UAN: PhoneReason.UAN,
    PhoneNumberType.PAGER: PhoneReason.PAGER,
    PhoneNumberType.VOICEMAIL: PhoneReason.VOICEMAIL,
}


@dataclass(frozen=True, slots=True, repr=False)
class Phone:
    """A number that can be texted: E.164, ISO region (GG is not GB), kind, every IANA zone it may be in (or none)."""

    e164: str
    region: str
    kind: PhoneKind
    zones: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Phone({masked(self.e164)}, {self.region}, {self.kind.value})"


@dataclass(frozen=True, slots=True)
class PhoneProblem:
    """Why a phone was refused, and which input to mend. Holds nothing of the number."""

    reason: PhoneReason

    @property
    def field(self) -> str:
        """`region` when the number cannot be read for want of one, else `phone`."""
        return "region" if self.reason is PhoneReason.UNKNOWN_REGION else "phone"


@lru_cache(maxsize=4096)
def parse_phone(raw: str, region: str | None, *, allow_voip: bool = False) -> Phone | PhoneProblem:
    """Read a phone as typed; `region` (ISO 3166, from the address, else the shop) is for numbers without a plus sign.

    Letters are refused, not read as vanity digits. A number with an extension is a desk, so it is refused too.
    `0030…` is read as `+30…` in any region, if the result is valid.
    """
    text = _TEL.sub("", raw, count=1).strip()
    number = _read(text, region.strip().upper() if region else None)
    if isinstance(number, PhoneReason):
        return PhoneProblem(number)
    if number.extension:
        return PhoneProblem(PhoneReason.EXTENSION)
    if not phonenumbers.is_possible_number(number):
        return PhoneProblem(PhoneReason.IMPOSSIBLE)
    home = phonenumbers.region_code_for_number(number)
    if home is None or not phonenumbers.is_valid_number_for_region(number, home):
        return PhoneProblem(PhoneReason.INVALID)
    return _judge(number, home, allow_voip=allow_voip)


def masked(e164: str) -> str:
    """The number as people may see it in lists and logs: country code and the last four digits, length hidden."""
    code = next((e164[1:n] for n in (2, 3, 4) if _is_country_code(e164[1:n])), "")
    return f"+{code}•••••••{e164[-4:]}" if code and len(e164) > len(code) + 6 else "•••••••"


def _is_country_code(digits: str) -> bool:
    return digits.isdecimal() and int(digits) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE


def _read(text: str, region: str | None) -> PhoneNumber | PhoneReason:
    if not text:
        return PhoneReason.EMPTY
    if any(character.isalpha() for character in _EXTENSION.sub("", text)):
        return PhoneReason.LETTERS
    if region not in phonenumbers.SUPPORTED_REGIONS:
        region = None
    number = _parse(text, region)
    if text.startswith("00") and (isinstance(number, PhoneReason) or not phonenumbers.is_valid_number(number)):
        abroad = _parse("+" + text[2:], None)
        if isinstance(abroad, PhoneNumber) and phonenumbers.is_valid_number(abroad):
            return abroad
    return number


def _parse(text: str, region: str | None) -> PhoneNumber | PhoneReason:
    try:
        return phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as problem:
        if region is None and problem.error_type == problem.INVALID_COUNTRY_CODE and not text.startswith(("+", "＋")):
            return PhoneReason.UNKNOWN_REGION
        return PhoneReason.UNPARSABLE


def _judge(number: PhoneNumber, home: str, *, allow_voip: bool) -> Phone | PhoneProblem:
    number_type = phonenumbers.number_type(number)
    kind = _KINDS.get(number_type)
    if kind is None:
        return PhoneProblem(_REFUSED.get(number_type, PhoneReason.INVALID))
    if kind is PhoneKind.VOIP and not allow_voip:
        return PhoneProblem(PhoneReason.VOIP)
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    area = area_codes.lookup(e164)
    zones = area.zones if area else tuple(z for z in time_zones_for_number(number) if z != UNKNOWN_TIMEZONE)
    return Phone(e164, home, kind, zones)
