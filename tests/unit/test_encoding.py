"""Parts are what the network bills, spellings change words never, and URLs are nobody's to touch."""

import random
from collections.abc import Callable

import pytest
import smsutil
from hypothesis import given
from hypothesis import strategies as st
from sms_toolkit.messages.profiling import profile_message

from smsblossom.domain.encoding import (
    Encoding,
    Measure,
    UnencodableTextError,
    greek_capitals,
    measure,
    smart,
    split,
)

GSM7, UCS2 = Encoding.GSM7, Encoding.UCS2
FAMILY = "👨\u200d👩\u200d👧\u200d👦"  # 11 units
FLAG = "🇬🇷"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", Measure(GSM7, 0, 0), id="empty"),
        pytest.param("a", Measure(GSM7, 1, 1), id="one"),
        pytest.param("a" * 160, Measure(GSM7, 160, 1), id="gsm-full-single"),
        pytest.param("a" * 161, Measure(GSM7, 161, 2), id="gsm-one-over"),
        pytest.param("a" * 306, Measure(GSM7, 306, 2), id="gsm-two-full"),
        pytest.param("a" * 307, Measure(GSM7, 307, 3), id="gsm-two-over"),
        pytest.param("€" * 80, Measure(GSM7, 160, 1), id="extension-counts-two"),
        pytest.param("a" * 159 + "€", Measure(GSM7, 161, 2), id="extension-over-the-single"),
        pytest.param("a" * 152 + "€" + "a" * 152, Measure(GSM7, 306, 3), id="extension-never-straddles"),
        pytest.param("a" * 151 + "€" + "a" * 153, Measure(GSM7, 306, 2), id="extension-ends-a-part"),
        pytest.param("\f", Measure(GSM7, 2, 1), id="form-feed-is-extension"),
        pytest.param("hi\x1bthere", Measure(UCS2, 8, 1), id="esc-is-no-content"),
        pytest.param("\t", Measure(UCS2, 1, 1), id="tab-is-not-gsm"),
        pytest.param("ç", Measure(UCS2, 1, 1), id="lower-c-cedilla-is-not-gsm"),
        pytest.param("Ç", Measure(GSM7, 1, 1), id="upper-c-cedilla-is-gsm"),
        pytest.param("`", Measure(UCS2, 1, 1), id="backtick-is-not-gsm"),
        pytest.param("\x00", Measure(UCS2, 1, 1), id="nul-is-not-gsm"),
        pytest.param("ΔΦΓΛΩΠΨΣΘΞ", Measure(GSM7, 10, 1), id="ten-greek-capitals"),
        pytest.param("γ" * 70, Measure(UCS2, 70, 1), id="ucs2-full-single"),
        pytest.param("γ" * 71, Measure(UCS2, 71, 2), id="ucs2-one-over"),
        pytest.param("γ" * 134, Measure(UCS2, 134, 2), id="ucs2-two-full"),
        pytest.param("γ" * 135, Measure(UCS2, 135, 3), id="ucs2-two-over"),
        pytest.param("😀" * 35, Measure(UCS2, 70, 1), id="emoji-counts-two"),
        pytest.param("γ" * 66 + "😀" + "γ" * 66, Measure(UCS2, 134, 3), id="pair-never-straddles"),
        pytest.param("γ{" * 35, Measure(UCS2, 70, 1), id="extension-counts-one-in-ucs2"),
    ],
)
def test_measure(text: str, expected: Measure) -> None:
    assert measure(text) == expected
    assert len(split(text)) == expected.parts
    assert "".join(split(text)) == text


@pytest.mark.parametrize("text", ["\ud83d", "ok \udc00", "\ude00\ud83d", "\ud83d" + "γ" * 80])
@pytest.mark.parametrize("function", [measure, split, smart])
def test_a_lone_surrogate_is_refused_without_quoting_the_text(function: Callable[[str], object], text: str) -> None:
    with pytest.raises(UnencodableTextError) as caught:
        function(text)
    assert "\ud83d" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# --- the oracles -------------------------------------------------------------------------------------------------

ALPHABETS = ["abc XYZ 019", "{}[]~|^\\€\f", "àéùΔΦ@£\n\r", "γειά", "é\u0301ñ", "😀🎉", "“”–…\u00a0", FAMILY + FLAG]


def random_text(dice: random.Random) -> str:
    letters = "".join(dice.sample(ALPHABETS, dice.randint(1, 3)))
    return "".join(dice.choices(letters, k=dice.choice((10, 40, 70, 100, 160, 161, 320))))


def test_parts_equal_both_oracles_where_they_agree() -> None:
    dice = random.Random(20261122)
    compared = 0
    for _ in range(3_000):
        text = random_text(dice)
        expected = len(smsutil.split(text).parts)
        if profile_message(text)["num_segments"] == expected:
            compared += 1
            assert measure(text).parts == expected == len(split(text)), repr(text)
    assert compared > 2_900


@pytest.mark.proof
def test_20_000_random_texts_equal_both_oracles_where_they_agree() -> None:
    dice = random.Random(7)
    for _ in range(20_000):
        text = random_text(dice)
        expected = len(smsutil.split(text).parts)
        if profile_message(text)["num_segments"] == expected:
            assert measure(text).parts == expected, repr(text)


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("".join(ALPHABETS)), max_size=500))
def test_split_keeps_the_text_and_every_part_fits(text: str) -> None:
    measured = measure(text)
    parts = split(text)
    assert "".join(parts) == text
    assert len(parts) == measured.parts
    room = 153 if measured.encoding is GSM7 else 67
    if len(parts) > 1:
        for part in parts:
            units = (
                sum(1 + (c in "\f^{}\\[~]|€") for c in part)
                if measured.encoding is GSM7
                else len(part.encode("utf-16-be")) // 2
            )
            assert 0 < units <= room


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        pytest.param("γ" * 60 + FAMILY + "γ" * 10, FAMILY, id="family"),
        pytest.param("γ" * 65 + FLAG + "γ" * 10, FLAG, id="flag"),
        pytest.param("γ" * 66 + "❤\ufe0f" + "γ" * 10, "❤\ufe0f", id="variation-selector"),
        pytest.param("γ" * 65 + "👍🏽" + "γ" * 10, "👍🏽", id="skin-tone"),
        pytest.param("γ" * 66 + "e\u0301" + "γ" * 10, "e\u0301", id="combining-accent"),
    ],
)
def test_what_a_reader_sees_as_one_sign_stays_together(text: str, whole: str) -> None:
    assert any(whole in part for part in split(text))
    assert len(split(text)) == measure(text).parts


def test_a_sequence_is_cut_rather_than_paid_for_with_another_part() -> None:
    text = "γ" * 61 + FAMILY + "γ" * 62  # 134 units: two parts on the network, three if the family stayed whole
    assert [len(part.encode("utf-16-be")) // 2 for part in split(text)] == [67, 67]


def test_a_sequence_longer_than_a_part_is_cut() -> None:
    endless = "\u200d".join("👨" * 60)
    assert len(split(endless)) == measure(endless).parts == 3


# --- spellings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected", "replaced"),
    [
        pytest.param("Plain", "Plain", (), id="already-gsm"),
        pytest.param("“Hi” – it’s…", '"Hi" - it\'s...', (("“", '"'), ("”", '"'), ("–", "-"), ("’", "'"), ("…", "...")),
                     id="quotes-dash-ellipsis"),
        pytest.param("10\u00a0€", "10 €", (("\u00a0", " "),), id="no-break-space"),
        pytest.param("ＳＡＬＥ！", "SALE!", tuple(zip("ＳＡＬＥ！", "SALE!", strict=True)), id="full-width"),
        pytest.param("cafe\u0301", "café", (("e\u0301", "é"),), id="decomposed-letter"),
        pytest.param("a\u200bb", "ab", (("\u200b", ""),), id="zero-width"),
        pytest.param("“Hi” γ", "“Hi” γ", (), id="one-greek-letter-keeps-all"),
        pytest.param("“Hi” 😀", "“Hi” 😀", (), id="emoji-keeps-all"),
        pytest.param("“https://ex.com/a”", '"https://ex.com/a"', (("“", '"'), ("”", '"')), id="quotes-around-a-url"),
        pytest.param("Hi’ https://ex.com/a–b", "Hi’ https://ex.com/a–b", (), id="dash-inside-a-url"),
        pytest.param("Hi’ sms.ex.com/a–b", "Hi’ sms.ex.com/a–b", (), id="dash-inside-a-bare-url"),
        pytest.param("…" * 70, "…" * 70, (), id="would-cost-a-part-more"),
    ],
)  # fmt: skip
def test_smart(text: str, expected: str, replaced: tuple[tuple[str, str], ...]) -> None:
    result = smart(text)
    assert (result.text, result.replaced) == (expected, replaced)


@given(
    st.text(st.sampled_from("ab €“”’–…\u00a0γ😀/:.e\u0301") | st.characters(exclude_categories=["Cs"]), max_size=200)
)
def test_smart_is_all_or_nothing(text: str) -> None:
    result = smart(text)
    if result.text != text:
        assert measure(result.text).encoding is GSM7
        assert measure(result.text).parts <= measure(text).parts
    assert smart(result.text).text == result.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Γειά σου", "ΓEIA ΣOY", id="accents-go"),
        pytest.param("Μαρία", "MAPIA", id="look-alikes"),
        pytest.param("ΐΰς ᾳ", "IYΣ A", id="diaeresis-final-sigma-iota-subscript"),
        pytest.param("ώ", "Ω", id="precomposed"),
        pytest.param("ω\u0301", "Ω", id="decomposed"),
        pytest.param("Maria ναι", "Maria NAI", id="latin-stays"),
        pytest.param("ναι https://ex.gr/ναι", "NAI https://ex.gr/ναι", id="url-stays"),
    ],
)
def test_greek_capitals(text: str, expected: str) -> None:
    assert greek_capitals(text) == expected


def test_greek_capitals_turn_every_greek_letter_into_gsm() -> None:
    letters = "αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώϊϋΐΰΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩΆΈΉΊΌΎΏΪΫ"
    assert measure(greek_capitals(letters)).encoding is GSM7
