"""The rules of the fake Mitto: response codes, magic digits, its own part count, the dice."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsblossom.sandbox.mitto_knobs import Dice, Fault, Knobs
from smsblossom.sandbox.mitto_rules import GSM_ALL, Magic, Submission, magic_of, parts, refusal

GOOD = Submission(to="12025550110", sender="Blossom", text="Your order is on its way")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({}, None, id="plain-gsm"),
        pytest.param({"type": "unicode", "text": "Καλημέρα ζωή 🌸"}, None, id="unicode-any-text"),
        pytest.param({"type": "Auto", "text": "Καλημέρα"}, None, id="auto-any-text"),
        pytest.param({"type": "Binary", "text": "00ff"}, None, id="binary-hex"),
        pytest.param({"text": "{€}"}, None, id="gsm-extension"),
        pytest.param({"sender": "447700900123"}, None, id="sender-numeric"),
        pytest.param({"sender": "12345678901234"}, None, id="sender-14-digits"),
        pytest.param({"type": "SMS"}, 2, id="2-type-unknown"),
        pytest.param({"type": ""}, 2, id="2-type-empty"),
        pytest.param({"text": ""}, 3, id="3-text-empty"),
        pytest.param({"text": " \n"}, 3, id="3-text-blank"),
        pytest.param({"text": "Καλημέρα"}, 4, id="4-greek-as-gsm"),
        pytest.param({"text": "back`tick"}, 4, id="4-backtick-as-gsm"),
        pytest.param({"type": "Binary", "text": "xyz"}, 4, id="4-binary-not-hex"),
        pytest.param({"sender": ""}, 5, id="5-sender-empty"),
        pytest.param({"sender": "ab"}, 6, id="6-sender-two-letters"),
        pytest.param({"sender": "TwelveLetter"}, 6, id="6-sender-twelve-letters"),
        pytest.param({"sender": "123456789012345"}, 6, id="6-sender-15-digits"),
        pytest.param({"sender": "Ζωή!"}, 6, id="6-sender-greek"),
        pytest.param({"to": ""}, 7, id="7-receiver-empty"),
        pytest.param({"to": "+12025550110"}, 8, id="8-receiver-with-plus"),
        pytest.param({"to": "02025550110"}, 8, id="8-receiver-leading-zero"),
        pytest.param({"to": "123456"}, 8, id="8-receiver-short"),
        pytest.param({"to": "1" * 16}, 8, id="8-receiver-long"),
        pytest.param({"to": "12025550102"}, 8, id="8-receiver-magic"),
        pytest.param({"plus_missing": True}, 8, id="8-messaging-without-plus"),
        pytest.param({"type": "SMS", "text": "", "to": ""}, 2, id="lowest-code-first"),
    ],
)
def test_refusal(changes: dict[str, Any], code: int | None) -> None:
    assert code == refusal(replace(GOOD, **changes))


@pytest.mark.parametrize("magic", list(Magic))
def test_last_two_digits_pick_the_behaviour(magic: Magic) -> None:
    assert magic is magic_of(f"120255501{magic.value}")
    assert magic_of(f"12025550{magic.value}9") is Magic.DELIVERED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a" * 160, 1, id="gsm-160"),
        pytest.param("a" * 161, 2, id="gsm-161"),
        pytest.param("a" * 306, 2, id="gsm-306"),
        pytest.param("a" * 307, 3, id="gsm-307"),
        pytest.param("€" * 80, 1, id="extension-80-is-160-septets"),
        pytest.param("€" * 81, 2, id="extension-81"),
        pytest.param("€" * 153, 3, id="escape-pair-never-straddles"),
        pytest.param("ж" * 70, 1, id="ucs2-70"),
        pytest.param("ж" * 71, 2, id="ucs2-71"),
        pytest.param("ж" * 134, 2, id="ucs2-134"),
        pytest.param("🌸" * 35, 1, id="surrogates-35-is-70-units"),
        pytest.param("🌸" * 67, 3, id="surrogate-pair-never-straddles"),
    ],
)
def test_parts(text: str, expected: int) -> None:
    assert expected == parts(text)


def test_the_alphabet_has_127_characters_and_10_of_the_extension() -> None:
    assert len(GSM_ALL) == 127 + 10


@given(st.text(min_size=1, max_size=400), st.text(max_size=20))
def test_a_longer_text_never_has_fewer_parts(text: str, more: str) -> None:
    assert parts(text) <= parts(text + more)


def test_the_dice_repeat_by_seed_and_keep_their_shares() -> None:
    knobs = Knobs(faults={"hang": 0.1, "500-before": 0.2})

    def throw(seed: int) -> list[Fault | None]:
        dice = Dice(seed)
        return [dice.fault(knobs) for _ in range(5_000)]

    assert throw(7) == throw(7) != throw(8)
    assert 350 < throw(7).count("hang") < 650
    assert 800 < throw(7).count("500-before") < 1_200
    assert 3_150 < throw(7).count(None) < 3_850


@pytest.mark.parametrize(
    "changes", [{"latency": 5}, {"latency_ms": "slow"}, {"faults": {"flood": 1.0}}, {"callback_method": "fax"}]
)
def test_a_wrong_knob_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        Knobs().turned(changes)
