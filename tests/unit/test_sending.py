"""decide(): every gate, every reason, in the promised order; and holding ends in sending or in a reason."""

from datetime import UTC, datetime, time, timedelta
from itertools import combinations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsblossom.domain.consent import ConsentState
from smsblossom.domain.frequency_caps import Caps, SentBefore
from smsblossom.domain.messages import MessageClass
from smsblossom.domain.sending import (
    GATES,
    Facts,
    Gate,
    Hold,
    Rules,
    Send,
    Withhold,
    ZoneBasis,
    decide,
    warnings,
)

NOON = datetime(2026, 11, 25, 17, 0, tzinfo=UTC)
"""A Wednesday noon in New York."""
HOURS_16, SECOND = timedelta(hours=16), timedelta(seconds=1)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
NIGHT = datetime(2026, 11, 25, 4, 0, tzinfo=UTC)
MORNING = datetime(2026, 11, 25, 13, 0, tzinfo=UTC)
URGENT, LATER = MessageClass.TRANSACTIONAL_URGENT, MessageClass.TRANSACTIONAL
PROMO, REPLY = MessageClass.PROMOTIONAL, MessageClass.KEYWORD_REPLY
FINE = Facts(
    shop_status="active",
    stop_all=False,
    automation_enabled=True,
    message_class=PROMO,
    lateness_s=1.0,
    is_test=False,
    is_pos=False,
    is_imported=False,
    status_wanted=True,
    sandbox=False,
    marketing=ConsentState.SUBSCRIBED,
    transactional=None,
    suppressed=False,
    number_problem=None,
    key_in_ledger=False,
    parts=1,
    text_problem=None,
    shopify_texts_too=False,
    sent=SentBefore(0, None),
    country="US",
    states=("NY",),
    zones=("America/New_York",),
    zone_basis=ZoneBasis.ADDRESS,
)
RULES = Rules(
    maximum_age=timedelta(hours=6),
    accepts_test=None,
    accepts_pos=False,
    accepts_imported=False,
    opens=time(8),
    closes=time(21),
    caps=Caps(),
)
NO: dict[Gate, dict[str, Any]] = {
    Gate.SHOP: {"shop_status": "paused"},
    Gate.STOP_ALL: {"stop_all": True},
    Gate.AUTOMATION: {"automation_enabled": False},
    Gate.LATENESS: {"lateness_s": 21601.0},
    Gate.OCCASION: {"is_pos": True},
    Gate.CONSENT: {"marketing": ConsentState.UNSUBSCRIBED},
    Gate.SUPPRESSION: {"suppressed": True},
    Gate.NUMBER: {"number_problem": "no_phone"},
    Gate.BUSINESS_KEY: {"key_in_ledger": True},
    Gate.TEXT: {"text_problem": "template_error"},
    Gate.FREQUENCY_CAP: {"sent": SentBefore(3, NOON)},
}
"""What makes each gate say no. `doubling` only warns, `quiet_hours` only waits."""


def facts(**changed: Any) -> Facts:
    return msgspec.structs.replace(FINE, **changed)


def rules(**changed: Any) -> Rules:
    return msgspec.structs.replace(RULES, **changed)


def reason(decision: object) -> str | None:
    return decision.reason if isinstance(decision, Withhold | Hold) else None


@pytest.mark.parametrize("message_class", MessageClass)
def test_what_nothing_speaks_against_is_sent(message_class: MessageClass) -> None:
    decision = decide(facts(message_class=message_class), RULES, NOON)
    assert isinstance(decision, Send)
    assert [(result.gate, result.outcome) for result in decision.gates] == [(gate, "pass") for gate in Gate]


@pytest.mark.parametrize(
    ("changed", "asked", "expected"),
    [
        pytest.param({"shop_status": "paused"}, {}, "shop_paused", id="shop paused"),
        pytest.param({"shop_status": "uninstalled"}, {}, "shop_uninstalled", id="shop gone"),
        pytest.param({"stop_all": True}, {}, "stop_all", id="stop all"),
        pytest.param({"automation_enabled": False}, {}, "automation_disabled", id="automation off"),
        pytest.param({"lateness_s": 6 * 3600}, {}, None, id="exactly the maximum age"),
        pytest.param({"lateness_s": 6 * 3600 + 1}, {}, "too_late", id="a second older"),
        pytest.param({"lateness_s": -5.0}, {}, None, id="from the future"),
        pytest.param({"is_test": True}, {}, "test_order", id="test order in production"),
        pytest.param({"is_test": True, "sandbox": True}, {}, None, id="test order in the sandbox"),
        pytest.param({"is_test": True}, {"accepts_test": True}, None, id="test order asked for"),
        pytest.param(
            {"is_test": True, "sandbox": True}, {"accepts_test": False}, "test_order", id="test order not asked for"
        ),
        pytest.param({"is_pos": True}, {}, "pos_order", id="point of sale"),
        pytest.param({"is_pos": True}, {"accepts_pos": True}, None, id="point of sale asked for"),
        pytest.param({"status_wanted": False}, {}, "status_not_wanted", id="another status"),
        pytest.param({"is_imported": True}, {}, "imported_order", id="imported"),
        pytest.param({"is_imported": True}, {"accepts_imported": True}, None, id="imported asked for"),
        pytest.param({"suppressed": True}, {}, "opted_out", id="opted out"),
        pytest.param({"number_problem": "number_fixed_line"}, {}, "number_fixed_line", id="number"),
        pytest.param({"key_in_ledger": True}, {}, "duplicate", id="duplicate"),
        pytest.param({"text_problem": "empty_text"}, {}, "empty_text", id="text"),
        pytest.param({"parts": 10}, {}, None, id="ten parts"),
        pytest.param({"parts": 11}, {}, "text_too_long", id="eleven parts"),
        pytest.param({"parts": 2}, {"maximum_parts": 1}, "text_too_long", id="more parts than the shop wants"),
        pytest.param({"sent": SentBefore(3, None)}, {}, "cap_reached", id="cap"),
        pytest.param({"sent": SentBefore(2, NOON - HOURS_16 + SECOND)}, {}, "sent_recently", id="spacing"),
        pytest.param({"sent": SentBefore(2, NOON - HOURS_16)}, {}, None, id="spacing is over"),
        pytest.param({"sent": SentBefore(2, NOON)}, {"caps": Caps(spacing=timedelta(0))}, None, id="no spacing"),
        pytest.param({"sent": SentBefore(2, None)}, {}, None, id="room for one"),
        pytest.param(
            {"sent": SentBefore(99, NOON)}, {"caps": Caps(per_day=None, spacing=None)}, None, id="no caps anywhere"
        ),
        pytest.param(
            {"sent": SentBefore(3, None), "states": ("FL",)},
            {"caps": Caps(per_day=None, spacing=None)},
            "cap_reached",
            id="the law's cap where the shop has none",
        ),
        pytest.param({"sent": SentBefore(0, None)}, {"caps": Caps(per_day=0)}, "cap_reached", id="a cap of nothing"),
    ],
)
def test_the_reason(changed: dict[str, Any], asked: dict[str, Any], expected: str | None) -> None:
    decision = decide(facts(**changed), rules(**asked), NOON)
    assert reason(decision) == expected
    assert isinstance(decision, Send) == (expected is None)


@pytest.mark.parametrize("message_class", MessageClass)
@pytest.mark.parametrize("marketing", ConsentState)
@pytest.mark.parametrize("transactional", [None, *ConsentState])
def test_consent(message_class: MessageClass, marketing: ConsentState, transactional: ConsentState | None) -> None:
    decision = decide(facts(message_class=message_class, marketing=marketing, transactional=transactional), RULES, NOON)
    match message_class:
        case MessageClass.PROMOTIONAL:
            expected = None if marketing is ConsentState.SUBSCRIBED else "no_marketing_consent"
        case MessageClass.KEYWORD_REPLY:
            expected = None
        case _:
            expected = "transactional_opt_out" if transactional is ConsentState.UNSUBSCRIBED else None
    assert reason(decision) == expected


@pytest.mark.parametrize(
    ("message_class", "passes"),
    [
        (URGENT, {Gate.FREQUENCY_CAP, Gate.QUIET_HOURS}),
        (LATER, {Gate.FREQUENCY_CAP}),
        (PROMO, set()),
        (REPLY, {Gate.CONSENT, Gate.SUPPRESSION, Gate.FREQUENCY_CAP, Gate.QUIET_HOURS}),
    ],
)
def test_what_each_class_passes(message_class: MessageClass, passes: set[Gate]) -> None:
    """Everything else stops every class."""
    passed = set()
    for gate, changed in NO.items():
        consent = {"transactional": ConsentState.UNSUBSCRIBED} if gate is Gate.CONSENT else {}
        if isinstance(decide(facts(message_class=message_class, **changed, **consent), RULES, NOON), Send):
            passed.add(gate)
    if isinstance(decide(facts(message_class=message_class), RULES, NIGHT), Send):
        passed.add(Gate.QUIET_HOURS)
    assert passed == passes


def test_the_gates_are_asked_in_the_promised_order() -> None:
    assert [gate for gate, _ in GATES] == list(Gate)
    for earlier, later in combinations(NO, 2):
        decision = decide(facts(**NO[later], **NO[earlier]), RULES, NIGHT)
        assert isinstance(decision, Withhold)
        assert decision.gate is earlier
        assert [result.gate for result in decision.gates] == list(Gate)[: list(Gate).index(earlier) + 1]


@pytest.mark.parametrize("gate", NO)
def test_no_gate_holds_what_another_refuses(gate: Gate) -> None:
    """At night too the answer is no at once: nobody waits for a morning that brings nothing."""
    assert isinstance(decide(facts(**NO[gate]), RULES, NIGHT), Withhold)


def test_at_night_it_waits_and_in_the_morning_it_goes() -> None:
    night = decide(facts(), RULES, NIGHT)
    assert isinstance(night, Hold)
    assert (night.until, night.gate, night.reason) == (MORNING, Gate.QUIET_HOURS, "quiet_hours")
    assert isinstance(decide(facts(), RULES, night.until), Send)
    assert isinstance(decide(facts(), RULES, night.until - timedelta(seconds=1)), Hold)


@pytest.mark.parametrize(
    ("changed", "now", "until"),
    [
        pytest.param({"zones": ("America/New_York", "America/Los_Angeles")}, MORNING, MORNING + timedelta(hours=3),
                     id="every possible clock must allow"),
        pytest.param({"zones": ("Asia/Tokyo",), "country": "JP", "states": ()}, NOON, None, id="02:00 in Tokyo"),
        pytest.param({"message_class": LATER}, NIGHT, MORNING, id="a shipping update keeps the shop's hours"),
    ],
)  # fmt: skip
def test_whose_clock(changed: dict[str, Any], now: datetime, until: datetime | None) -> None:
    decision = decide(facts(**changed), RULES, now)
    assert isinstance(decision, Hold)
    assert until is None or decision.until == until


def test_a_shipping_update_ignores_the_law_of_promotions_but_not_the_shops_hours() -> None:
    """Texas keeps promotional texts out of Sunday mornings; a parcel is no promotion."""
    sunday_morning = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)  # 09:00 in Dallas
    texas = {"states": ("TX",), "zones": ("America/Chicago",)}
    assert isinstance(decide(facts(**texas), RULES, sunday_morning), Hold)
    assert isinstance(decide(facts(**texas, message_class=LATER), RULES, sunday_morning), Send)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({"shopify_texts_too": True}, ["shopify_texts_too"], id="doubling"),
        pytest.param({"parts": 4}, ["over_three_parts"], id="long"),
        pytest.param({"parts": 4, "shopify_texts_too": True}, ["over_three_parts", "shopify_texts_too"], id="both"),
        pytest.param({}, [], id="none"),
    ],
)
def test_warnings_do_not_stop_anything(changed: dict[str, Any], expected: list[str]) -> None:
    decision = decide(facts(**changed), RULES, NOON)
    assert isinstance(decision, Send)
    assert warnings(decision) == expected


@given(
    now=st.integers(0, 730 * 24 * 60).map(
        lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    ),
    zone=st.sampled_from(["America/New_York", "Europe/Athens", "Asia/Tokyo", "Australia/Lord_Howe"]),
    place=st.sampled_from([("US", ("NY",)), ("GR", ()), ("FR", ()), ("US", ("TX",)), (None, ())]),
    message_class=st.sampled_from([PROMO, LATER]),
)
def test_a_hold_is_later_and_ends_in_a_send(
    now: datetime, zone: str, place: tuple[str | None, tuple[str, ...]], message_class: MessageClass
) -> None:
    fine = facts(zones=(zone,), country=place[0], states=place[1], message_class=message_class)
    decision = decide(fine, RULES, now)
    assert decide(fine, RULES, now) == decision
    if isinstance(decision, Hold):
        assert decision.until > now
        assert isinstance(decide(fine, RULES, decision.until), Send)
    else:
        assert isinstance(decision, Send)
