"""Gather the facts of one text to one person, and have `decide()` judge them.

The send path, a held text's release and every later dry run come through here; the caller owns the transaction.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from smsblossom.bootstrap import Runtime
from smsblossom.domain import encoding, sending, shop_settings, templates, zones
from smsblossom.domain.automations import Automation
from smsblossom.domain.consent import ConsentKind, current_state
from smsblossom.domain.contacts import Phone, PhoneProblem, parse_phone
from smsblossom.domain.encoding import Measure
from smsblossom.domain.events import RawPhone
from smsblossom.domain.frequency_caps import SentBefore
from smsblossom.domain.ids import ContactId, MessageId, ShopId, WebhookEventId
from smsblossom.domain.messages import BusinessKey, MessageClass, Source
from smsblossom.domain.occasions import Occasion
from smsblossom.domain.sending import Decision, Facts, Hold, Rules, Send, Withhold
from smsblossom.store import decisions
from smsblossom.store.automations import Run
from smsblossom.store.decisions import DecisionRow, Situation
from smsblossom.store.engine import Connection

_NO_PHONE: Final = b""


class UnknownShop(Exception):  # noqa: N818
    """The shop's row is gone; nothing can be judged for it."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be judged: one automation on one occasion."""

    shop_id: ShopId
    run_id: UUID
    automation_id: UUID
    automation: Automation
    enabled: bool
    occasion: Occasion
    contact_id: ContactId | None
    request_id: str
    webhook_event_id: WebhookEventId
    received_at: datetime


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The decision, and what it takes to act on it and to explain it."""

    decision: Decision
    facts: Facts
    rules: Rules
    key: BusinessKey
    phone: Phone | None
    text: str
    measure: Measure
    sender: str
    local_time: datetime


def case_of(runtime: Runtime, shop_id: ShopId, run: Run) -> Case:
    """Open a run's sealed occasion."""
    return Case(
        shop_id=shop_id,
        run_id=run.id,
        automation_id=run.automation_id,
        automation=msgspec.convert(run.definition, Automation),
        enabled=run.enabled,
        occasion=msgspec.json.decode(runtime.vault.decrypt(shop_id, run.context_sealed), type=Occasion),
        contact_id=run.contact_id,
        request_id=run.request_id,
        webhook_event_id=run.webhook_event_id,
        received_at=run.received_at,
    )


async def judge(
    runtime: Runtime, connection: Connection, case: Case, *, now: datetime, own: MessageId | None = None
) -> Judgement:
    """Take the recipient's lock, look, and decide. `own` is the ledger row that is judged again.

    Raises:
        UnknownShop: the shop's row is gone.

    """
    phone, problem = _recipient(case)
    key = _key(runtime, case, phone)
    await decisions.lock_recipient(connection, case.shop_id, key.phone_index)
    situation = await decisions.situation(connection, key, contact_id=_consenting(case), own=own, now=now)
    if situation is None:
        raise UnknownShop
    text, text_problem = _render(case, situation, now)
    measured = encoding.measure(text)
    facts = _facts(runtime, case, situation, phone, problem, measured.parts, text_problem, now)
    rules = _rules(case.automation, situation.settings)
    return Judgement(
        decision=sending.decide(facts, rules, now),
        facts=facts,
        rules=rules,
        key=key,
        phone=phone,
        text=text,
        measure=measured,
        sender=situation.sender or runtime.settings.mitto_sender,
        local_time=now.astimezone(ZoneInfo(facts.zones[0])),
    )


async def record(
    runtime: Runtime,
    connection: Connection,
    case: Case,
    judgement: Judgement,
    *,
    message_id: MessageId | None,
    now: datetime,
) -> None:
    """Keep the decision with everything that led to it, and count it."""
    verdict, reason, gate, until = _spoken(judgement.decision)
    seen = msgspec.json.encode({"facts": judgement.facts, "rules": judgement.rules, "gates": judgement.decision.gates})
    row = DecisionRow(
        verdict=verdict,
        reason=reason,
        gate=gate,
        rules_version=sending.RULES_VERSION,
        hold_until=until,
        source=judgement.key.source,
        source_id=case.automation_id,
        subject=case.occasion.subject,
        step=judgement.key.step,
        contact_id=case.contact_id,
        message_id=message_id,
        phone_index=judgement.key.phone_index or None,
        zone=judgement.facts.zones[0],
        zone_basis=judgement.facts.zone_basis,
        local_time=judgement.local_time.isoformat(timespec="minutes"),
        warnings=sending.warnings(judgement.decision),
        facts_sealed=runtime.vault.encrypt(case.shop_id, seen),
        decided_at=now,
        request_id=case.request_id,
        webhook_event_id=case.webhook_event_id,
    )
    await decisions.add(connection, case.shop_id, row)
    runtime.metrics.decisions.labels(verdict=verdict, reason=reason or "").inc()


def _spoken(decision: Decision) -> tuple[str, str | None, str | None, datetime | None]:
    match decision:
        case Send():
            return "send", None, None, None
        case Hold(until, gate, reason):
            return "hold", reason, gate, until
        case Withhold(gate, reason):
            return "withhold", reason, gate, None


def _recipient(case: Case) -> tuple[Phone | None, str | None]:
    """The first number that can be texted, or why the best candidate cannot."""
    occasion = case.occasion
    promotional = case.automation.message_class is MessageClass.PROMOTIONAL
    candidates: tuple[RawPhone, ...] = (occasion.own_phone,) if promotional and occasion.own_phone else occasion.phones
    problem: str | None = None
    for candidate in candidates:
        match parse_phone(candidate.raw, candidate.region):
            case Phone() as phone:
                return phone, None
            case PhoneProblem(reason):
                problem = problem or f"number_{reason}"
    return None, problem or "no_phone"


def _consenting(case: Case) -> ContactId | None:
    """Whose word on no number in particular counts: marketing consent is for the customer's own number alone."""
    promotional = case.automation.message_class is MessageClass.PROMOTIONAL
    return None if promotional and case.occasion.own_phone is None else case.contact_id


def _key(runtime: Runtime, case: Case, phone: Phone | None) -> BusinessKey:
    return BusinessKey(
        shop_id=case.shop_id,
        source=Source.AUTOMATION,
        source_id=str(case.automation_id),
        subject=case.occasion.subject,
        step=0,
        phone_index=runtime.vault.blind_index(case.shop_id, phone.e164) if phone else _NO_PHONE,
    )


def _render(case: Case, situation: Situation, now: datetime) -> tuple[str, str | None]:
    """The text as it would be sent, and what is wrong with it."""
    variables = case.occasion.variables
    context: dict[str, Any] = {
        **variables,
        "shop": {"name": situation.name or situation.domain, "domain": situation.domain},
        "locale": case.occasion.locale or situation.locale,
        "currency": variables.get("order", {}).get("currency") or situation.currency,
        "timezone": situation.timezone,
        "now": now,
    }
    try:
        text = templates.compile_template(case.automation.text).render(context)
    except templates.TemplateError:
        return "", "template_error"
    if case.automation.greek_capitals:
        text = encoding.greek_capitals(text)
    return encoding.smart(text).text, None if text else "empty_text"


def _facts(
    runtime: Runtime,
    case: Case,
    situation: Situation,
    phone: Phone | None,
    problem: str | None,
    parts: int,
    text_problem: str | None,
    now: datetime,
) -> Facts:
    occasion = case.occasion
    trail = situation.trail or []
    said = [entry.record for entry in trail if entry.kind is ConsentKind.TRANSACTIONAL]
    where = zones.zones_for(address=occasion.address, browser=None, phone=phone, shop=situation.timezone)
    country, states = zones.states_for(address=occasion.address, phone=phone)
    return Facts(
        shop_status=situation.status,
        stop_all=situation.stop_all,
        automation_enabled=case.enabled,
        message_class=case.automation.message_class,
        lateness_s=(now - occasion.happened_at).total_seconds(),
        is_test=occasion.is_test,
        is_pos=occasion.is_pos,
        is_imported=occasion.is_imported,
        status_wanted=case.automation.wants(occasion.status),
        sandbox=runtime.settings.sandbox,
        marketing=current_state(entry.record for entry in trail if entry.kind is ConsentKind.MARKETING),
        transactional=current_state(said) if said else None,
        suppressed=situation.suppressed,
        number_problem=problem,
        key_in_ledger=situation.key_in_ledger,
        parts=parts,
        text_problem=text_problem,
        shopify_texts_too=occasion.phone_only and situation.transactional_sms_disabled is False,
        sent=SentBefore(situation.sent_last_day, situation.sent_newest_at),
        country=country or situation.country,
        states=states,
        zones=where.names,
        zone_basis=where.basis,
    )


def _rules(automation: Automation, settings: dict[str, Any]) -> Rules:
    shop = shop_settings.parse(settings)
    opens, closes = shop.window
    return Rules(
        maximum_age=automation.maximum_age,
        accepts_test=automation.accept.test,
        accepts_pos=automation.accept.pos,
        accepts_imported=automation.accept.imported,
        opens=opens,
        closes=closes,
        caps=shop.caps,
        maximum_parts=shop.maximum_parts,
    )
