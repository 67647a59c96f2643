"""A phone becomes a number that can be texted, or a reason; its digits are in no repr."""

from zoneinfo import ZoneInfo

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsblossom.domain import area_codes
from smsblossom.domain.contacts import Phone, PhoneKind, PhoneProblem, PhoneReason, masked, parse_phone

US_EAST = Phone("+12025550101", "US", PhoneKind.FIXED_LINE_OR_MOBILE, ("America/New_York",))
AUSTRALIAN = Phone(
    "+61491570006",
    "AU",
    PhoneKind.MOBILE,
    (
        "Australia/Adelaide",
        "Australia/Brisbane",
        "Australia/Eucla",
        "Australia/Lord_Howe",
        "Australia/Perth",
        "Australia/Sydney",
        "Indian/Christmas",
        "Indian/Cocos",
    ),
)
GREEK = Phone("+306900000000", "GR", PhoneKind.MOBILE, ("Europe/Athens",))


@pytest.mark.parametrize(
    ("raw", "region", "expected"),
    [
        pytest.param("+12025550101", None, US_EAST, id="e164"),
        pytest.param("(202) 555-0101", "US", US_EAST, id="national"),
        pytest.param("(202) 555-0101", "us", US_EAST, id="region-in-lower-case"),
        pytest.param("1 202 555 0101", "US", US_EAST, id="country-code-without-plus"),
        pytest.param("tel:+1-202-555-0101", None, US_EAST, id="tel-uri"),
        pytest.param("２０２５５５０１０１", "US", US_EAST, id="full-width-digits"),
        pytest.param("\u202a+12025550101\u202c", "GR", US_EAST, id="pasted-direction-marks"),
        pytest.param("+1 202 555 0101", "ZZ", US_EAST, id="a-plus-needs-no-region"),
        pytest.param("6900000000", "GR", GREEK, id="greek-national"),
        pytest.param("0030 690 000 0000", "GR", GREEK, id="00-in-its-own-region"),
        pytest.param("0030 690 000 0000", "US", GREEK, id="00-in-a-foreign-region"),
        pytest.param("0030 690 000 0000", None, GREEK, id="00-without-region"),
        pytest.param("+61 (0) 491 570 006", None, AUSTRALIAN, id="bracketed-zero"),
    ],
)
def test_a_phone_that_can_be_texted(raw: str, region: str | None, expected: Phone) -> None:
    assert parse_phone(raw, region) == expected


@pytest.mark.parametrize(
    ("raw", "region", "reason"),
    [
        pytest.param("", "US", PhoneReason.EMPTY, id="empty"),
        pytest.param(" \t ", "US", PhoneReason.EMPTY, id="blank"),
        pytest.param("555-555-SHIP", "US", PhoneReason.LETTERS, id="vanity"),
        pytest.param("κινητό 6900000000", "GR", PhoneReason.LETTERS, id="greek-letters"),
        pytest.param("call me", "US", PhoneReason.LETTERS, id="words"),
        pytest.param("2025550101", None, PhoneReason.UNKNOWN_REGION, id="no-region"),
        pytest.param("2025550101", "ZZ", PhoneReason.UNKNOWN_REGION, id="unknown-region"),
        pytest.param("+", "US", PhoneReason.UNPARSABLE, id="plus-only"),
        pytest.param("1" * 300, "US", PhoneReason.UNPARSABLE, id="endless"),
        pytest.param("+999 555 0101", None, PhoneReason.UNPARSABLE, id="no-such-country"),
        pytest.param("555-0101", "US", PhoneReason.INVALID, id="local-only"),
        pytest.param("12", "US", PhoneReason.IMPOSSIBLE, id="too-short"),
        pytest.param("202 555 0101", "GR", PhoneReason.INVALID, id="american-read-as-greek"),
        pytest.param("555-555-5555", "US", PhoneReason.INVALID, id="no-such-area-code"),
        pytest.param("+1 202 555 0101 ext. 5", None, PhoneReason.EXTENSION, id="extension"),
        pytest.param("+1 202 555 0101 x5", None, PhoneReason.EXTENSION, id="short-extension"),
        pytest.param("+30 210 000 0000", None, PhoneReason.FIXED_LINE, id="fixed-line"),
        pytest.param("+1 800 555 0101", None, PhoneReason.TOLL_FREE, id="toll-free"),
        pytest.param("+1 900 555 0101", None, PhoneReason.PREMIUM, id="premium"),
        pytest.param("+1 500 555 0006", None, PhoneReason.PERSONAL, id="personal"),
        pytest.param("+44 55 0000 0000", None, PhoneReason.UAN, id="uan"),
        pytest.param("+44 76 4000 0000", None, PhoneReason.PAGER, id="pager"),
        pytest.param("+44 56 0000 0000", None, PhoneReason.VOIP, id="voip-by-default"),
    ],
)
def test_a_phone_that_cannot_be_texted(raw: str, region: str | None, reason: PhoneReason) -> None:
    problem = parse_phone(raw, region)
    assert problem == PhoneProblem(reason)
    assert isinstance(problem, PhoneProblem)
    assert problem.field == ("region" if reason is PhoneReason.UNKNOWN_REGION else "phone")


def test_voip_by_option() -> None:
    phone = parse_phone("+44 56 0000 0000", None, allow_voip=True)
    assert isinstance(phone, Phone)
    assert phone.kind is PhoneKind.VOIP


REFUSED_TYPES = [
    (phonenumbers.PhoneNumberType.FIXED_LINE, PhoneReason.FIXED_LINE),
    (phonenumbers.PhoneNumberType.TOLL_FREE, PhoneReason.TOLL_FREE),
    (phonenumbers.PhoneNumberType.PREMIUM_RATE, PhoneReason.PREMIUM),
    (phonenumbers.PhoneNumberType.SHARED_COST, PhoneReason.SHARED_COST),
    (phonenumbers.PhoneNumberType.PERSONAL_NUMBER, PhoneReason.PERSONAL),
    (phonenumbers.PhoneNumberType.UAN, PhoneReason.UAN),
    (phonenumbers.PhoneNumberType.PAGER, PhoneReason.PAGER),
    (phonenumbers.PhoneNumberType.VOICEMAIL, PhoneReason.VOICEMAIL),
    (phonenumbers.PhoneNumberType.VOIP, PhoneReason.VOIP),
]


@pytest.mark.parametrize(("number_type", "reason"), REFUSED_TYPES, ids=[reason for _, reason in REFUSED_TYPES])
def test_every_refused_type_has_its_own_reason_in_every_country(number_type: int, reason: PhoneReason) -> None:
    examples = 0
    for region in phonenumbers.SUPPORTED_REGIONS:
        number = phonenumbers.example_number_for_type(region, number_type)
        if number is not None and phonenumbers.number_type(number) == number_type:
            e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
            assert parse_phone(e164, None) == PhoneProblem(reason), region
            examples += 1
    assert examples > 0


def test_guernsey_is_not_the_united_kingdom() -> None:
    phone = parse_phone("+447911123456", "GB")
    assert isinstance(phone, Phone)
    assert phone.region == "GG"
    assert len(phone.zones) == 4


def test_a_number_of_several_zones_names_them_all() -> None:
    alaska = parse_phone("+1 907 555 0101", None)
    assert isinstance(alaska, Phone)
    assert set(alaska.zones) >= {"America/Anchorage", "America/Adak"}


@pytest.mark.parametrize(
    ("e164", "expected"),
    [
        pytest.param("+12025550101", "+1•••••••0101", id="us"),
        pytest.param("+306900000000", "+30•••••••0000", id="gr"),
        pytest.param("+353850000123", "+353•••••••0123", id="three-digit-country-code"),
        pytest.param("+1202", "•••••••", id="too-short-to-show-any"),
        pytest.param("", "•••••••", id="empty"),
        pytest.param("someone", "•••••••", id="no-number"),
    ],
)
def test_masked(e164: str, expected: str) -> None:
    assert masked(e164) == expected


def test_the_digits_are_in_no_repr() -> None:
    assert "2025550101" not in f"{US_EAST!r} {US_EAST!s} {parse_phone('+1 202 555 0101 x5', None)!r}"


@given(st.text(max_size=60), st.none() | st.sampled_from(["US", "GR", "XX", "", "gb"]))
def test_any_text_gets_an_answer(raw: str, region: str | None) -> None:
    assert isinstance(parse_phone(raw, region), Phone | PhoneProblem)


# --- area codes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("e164", "country", "states", "zones"),
    [
        pytest.param("+12025550101", "US", ("DC",), {"America/New_York"}, id="dc"),
        pytest.param("+13055550101", "US", ("FL",), {"America/New_York"}, id="miami"),
        pytest.param("+16895550101", "US", ("FL",), {"America/New_York"}, id="orlando-overlay"),
        pytest.param("+18505550101", "US", ("FL",), {"America/New_York", "America/Chicago"}, id="panhandle"),
        pytest.param("+19155550101", "US", ("TX",), {"America/Denver"}, id="el-paso"),
        pytest.param("+14165550101", "CA", ("ON",), {"America/Toronto"}, id="toronto"),
        pytest.param("+13065550101", "CA", ("SK",), {"America/Regina"}, id="saskatchewan-without-dst"),
        pytest.param("+19025550101", "CA", ("NS", "PE"), {"America/Halifax"}, id="two-provinces"),
        pytest.param("+17875550101", "PR", (), {"America/Puerto_Rico"}, id="puerto-rico"),
    ],
)  # fmt: skip
def test_area(e164: str, country: str, states: tuple[str, ...], zones: set[str]) -> None:
    area = area_codes.lookup(e164)
    assert area is not None
    assert (area.country, area.states) == (country, states)
    assert zones <= set(area.zones)


@pytest.mark.parametrize("e164", ["+18005550101", "+15005550101", "+306900000000", "", "+1", "2025550101"])
def test_no_area(e164: str) -> None:
    assert area_codes.lookup(e164) is None


def test_the_table_agrees_with_the_installed_phonenumbers() -> None:
    """Countries of all codes, and no code twice; all zones exist."""
    codes = [code for *_, codes in area_codes._TABLE for code in codes.split()]
    assert len(codes) == len(set(codes)) > 430
    for code in codes:
        area = area_codes.lookup(f"+1{code}5550101")
        assert area is not None
        assert all(ZoneInfo(zone) for zone in area.zones)
        number = phonenumbers.parse(f"+1{code}5550101")
        assert code == "729" or phonenumbers.region_code_for_number(number) == area.country
