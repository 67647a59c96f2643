"""`decide()`: may this text go to this person now?

The one judge. The send path, dry runs, replays, campaigns and tests all call it; SQL counts and locks for it. Gates
are asked in the order of cost (shop, lateness, consent, suppression, number, key, caps, hours), and the first that
says no gives the reason. A hold is only for the hour: everything else is yes or no.
"""

from collections.abc import Callable
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from smsblossom.domain import frequency_caps, jurisdictions, quiet_hours
from smsblossom.domain.consent import ConsentState
from smsblossom.domain.frequency_caps import Caps, SentBefore
from smsblossom.domain.messages import MessageClass

RULES_VERSION: Final = f"1/{jurisdictions.VERSION}"


class ZoneBasis(StrEnum):
    """Where the recipient's time zone was read from, best first."""

    ADDRESS = "address"
    BROWSER = "browser"
    NUMBER = "number"
    SHOP = "shop"


class Gate(StrEnum):
    SHOP = "shop"
    STOP_ALL = "stop_all"
    AUTOMATION = "automation"
    LATENESS = "lateness"
    OCCASION = "occasion"
    CONSENT = "consent"
    SUPPRESSION = "suppression"
    NUMBER = "number"
    BUSINESS_KEY = "business_key"
    TEXT = "text"
    DOUBLING = "doubling"
    FREQUENCY_CAP = "frequency_cap"
    QUIET_HOURS = "quiet_hours"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that `decide` looks at. Carries no phone, name or text; it is kept, sealed, with each decision."""

    shop_status: str
    stop_all: bool
    automation_enabled: bool
    message_class: MessageClass
    lateness_s: float
    is_test: bool
    is_pos: bool
    is_imported: bool
    status_wanted: bool
    """Whether the automation asked to hear of this fulfillment status."""
    sandbox: bool
    marketing: ConsentState
    transactional: ConsentState | None
    """None: nothing was ever said about transactional texts, which a phone given with an order allows."""
    suppressed: bool
    number_problem: str | None
    key_in_ledger: bool
    parts: int
    text_problem: str | None
    shopify_texts_too: bool
    sent: SentBefore
    country: str | None
    states: tuple[str, ...]
    zones: tuple[str, ...]
    zone_basis: ZoneBasis


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the shop and the automation ask for. A shop may be stricter than the law, never laxer."""

    maximum_age: timedelta
    accepts_test: bool | None
    accepts_pos: bool
    accepts_imported: bool
    opens: time
    closes: time
    caps: Caps
    maximum_parts: int = 10


class GateResult(msgspec.Struct, frozen=True):
    gate: Gate
    outcome: str
    """pass, warn, hold or withhold."""
    detail: str | None = None


class Send(msgspec.Struct, frozen=True):
    gates: tuple[GateResult, ...]


class Hold(msgspec.Struct, frozen=True):
    """Wait for this moment, then decide again."""

    until: datetime
    gate: Gate
    reason: str
    gates: tuple[GateResult, ...]


class Withhold(msgspec.Struct, frozen=True):
    gate: Gate
    reason: str
    gates: tuple[GateResult, ...]


Decision = Send | Hold | Withhold


class _No(msgspec.Struct, frozen=True):
    reason: str


class _Wait(msgspec.Struct, frozen=True):
    until: datetime
    reason: str


class _Warn(msgspec.Struct, frozen=True):
    warning: str


_Answer = _No | _Wait | _Warn | None


def decide(facts: Facts, rules: Rules, now: datetime) -> Decision:
    """Send, hold until a moment, or withhold with a reason. Pure: equal arguments give equal decisions."""
    results: list[GateResult] = []
    for gate, ask in GATES:
        answer = ask(facts, rules, now)
        if answer is None:
            results.append(_PASSED[gate])
        elif isinstance(answer, _Warn):
            results.append(GateResult(gate, "warn", answer.warning))
        elif isinstance(answer, _No):
            results.append(GateResult(gate, "withhold", answer.reason))
            return Withhold(gate, answer.reason, tuple(results))
        else:
            results.append(GateResult(gate, "hold", answer.reason))
            return Hold(answer.until, gate, answer.reason, tuple(results))
    return Send(tuple(results))


def warnings(decision: Decision) -> list[str]:
    return [result.detail for result in decision.gates if result.outcome == "warn" and result.detail]


def _shop(facts: Facts, _rules: Rules, _now: datetime) -> _Answer:
    return None if facts.shop_status == "active" else _No(f"shop_{facts.shop_status}")


def _stop_all(facts: Facts, _rules: Rules, _now: datetime) -> _Answer:
    return _No("stop_all") if facts.stop_all else None


def _automation(facts: Facts, _rules: Rules, _now: datetime) -> _Answer:
    return None if facts.automation_enabled else _No("automation_disabled")


def _lateness(facts: Facts, rules: Rules, _now: datetime) -> _Answer:
    return _No("too_late") if facts.lateness_s > rules.maximum_age.total_seconds() else None


def _occasion(facts: Facts, rules: Rules, _now: datetime) -> _Answer:
    if not facts.status_wanted:
        return _No("status_not_wanted")
    if facts.is_test and not (facts.sandbox if rules.accepts_test is None else rules.accepts_test):
        return _No("test_order")
    if facts.is_pos and not rules.accepts_pos:
        return _No("pos_order")
    if facts.is_imported and not rules.accepts_imported:
        return _No("imported_order")
    return None


def _consent(facts: Facts, _rules: Rules, _now: datetime) -> _Answer:
    match facts.message_class:
        case MessageClass.PROMOTIONAL:
            return None if facts.marketing is ConsentState.SUBSCRIBED else _No("no_marketing_consent")
        case MessageClass.TRANSACTIONAL | MessageClass.TRANSACTIONAL_URGENT:
            return _No("transactional_opt_out") if facts.transactional is ConsentState.UNSUBSCRIBED else None
        case MessageClass.KEYWORD_REPLY:
            return None


def _suppression(facts: Facts, _rules: Rules, _now: datetime) -> _Answer:
    # The confirmation of a STOP goes to a suppressed number by design (47 CFR 64.1200(a)(12)).
    if facts.suppressed and facts.message_class is not MessageClass.KEYWORD_REPLY:
        return _No("opted_out")
    return None


def _number(facts: Facts, _rules: Rules, _now: datetime) -> _Answer:
    return None if facts.number_problem is None else _No(facts.number_problem)


def _business_key(facts: Facts, _rules: Rules, _now: datetime) -> _Answer:
    return _No("duplicate") if facts.key_in_ledger else None


def _text(facts: Facts, rules: Rules, _now: datetime) -> _Answer:
    if facts.text_problem is not None:
        return _No(facts.text_problem)
    if facts.parts > rules.maximum_parts:
        return _No("text_too_long")
    return _Warn("over_three_parts") if facts.parts > 3 else None


def _doubling(facts: Facts, _rules: Rules, _now: datetime) -> _Answer:
    return _Warn("shopify_texts_too") if facts.shopify_texts_too else None


def _frequency_cap(facts: Facts, rules: Rules, now: datetime) -> _Answer:
    if facts.message_class is not MessageClass.PROMOTIONAL:
        return None
    caps = _strictest(rules.caps, _laws(facts))
    reason = frequency_caps.reached(caps, facts.sent, now)
    return None if reason is None else _No(reason)


def _quiet_hours(facts: Facts, rules: Rules, now: datetime) -> _Answer:
    if facts.message_class in _ANY_HOUR:
        return None
    laws = _laws(facts) if facts.message_class is MessageClass.PROMOTIONAL else ()
    zones = tuple(ZoneInfo(zone) for zone in facts.zones)
    shop_window = quiet_hours.Window(rules.opens, rules.closes)
    until = quiet_hours.next_allowed(now, laws, zones, shop_window=shop_window)
    if until is None:
        return _No("no_lawful_hour")
    return None if until <= now else _Wait(until, "quiet_hours")


def _laws(facts: Facts) -> tuple[jurisdictions.Jurisdiction, ...]:
    """Every law that may hold for this person: one per state that the address or the number points to."""
    return tuple(jurisdictions.rules_for(facts.country, state) for state in facts.states or (None,))


def _strictest(caps: Caps, laws: tuple[jurisdictions.Jurisdiction, ...]) -> Caps:
    limits = [law.cap_per_24h for law in laws if law.cap_per_24h is not None]
    if caps.per_day is not None:
        limits.append(caps.per_day)
    return Caps(per_day=min(limits, default=None), spacing=caps.spacing)


_ANY_HOUR: Final = frozenset({MessageClass.TRANSACTIONAL_URGENT, MessageClass.KEYWORD_REPLY})
_PASSED: Final = {gate: GateResult(gate, "pass") for gate in Gate}

GATES: Final[tuple[tuple[Gate, Callable[[Facts, Rules, datetime], _Answer]], ...]] = (
    (Gate.SHOP, _shop),
    (Gate.STOP_ALL, _stop_all),
    (Gate.AUTOMATION, _automation),
    (Gate.LATENESS, _lateness),
    (Gate.OCCASION, _occasion),
    (Gate.CONSENT, _consent),
    (Gate.SUPPRESSION, _suppression),
    (Gate.NUMBER, _number),
    (Gate.BUSINESS_KEY, _business_key),
    (Gate.TEXT, _text),
    (Gate.DOUBLING, _doubling),
    (Gate.FREQUENCY_CAP, _frequency_cap),
    (Gate.QUIET_HOURS, _quiet_hours),
)
"""The order is part of the promise: the first gate that says no names the reason."""
