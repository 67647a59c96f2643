"""What the demo shows of each webhook, and what must be true of all of them at the end.

Pure: the rows of the service and the fake Mitto's own books are handed in.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from smsblossom.cli.demo_plan import Planned
from smsblossom.cli.show import local, words
from smsblossom.domain.contacts import masked
from smsblossom.domain.ids import MessageId
from smsblossom.domain.messages import MessageState
from smsblossom.sandbox.mitto_ledger import Text
from smsblossom.store.decisions import DecisionRow
from smsblossom.store.inbox import InboxState, WebhookEvent
from smsblossom.store.messages import Message
from smsblossom.store.trail import Step

_S = MessageState
_TEXT_LEFT: Final = frozenset({_S.ACCEPTED, _S.SENT, _S.DELIVERED, _S.UNDELIVERED})
_NO_TEXT: Final = frozenset({_S.PLANNED, _S.QUEUED, _S.HELD, _S.WITHHELD, _S.REFUSED})
_ENDED: Final = frozenset({_S.HELD, _S.WITHHELD, _S.REFUSED, _S.DELIVERED, _S.UNDELIVERED, _S.FAILED, _S.EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All that is known at one moment. `answers` is the HTTP status of each posted webhook, by its id."""

    answers: Mapping[str, int | None]
    inbox: Sequence[WebhookEvent]
    decisions: Sequence[DecisionRow]
    automations: Mapping[str, str]
    messages: Mapping[MessageId, Message]
    bodies: Mapping[MessageId, str]
    steps: Mapping[MessageId, Sequence[Step]]
    texts: Sequence[Text]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One decision about one webhook, ready to be shown. `key` stays the same from look to look."""

    key: str
    event: str
    contact: str
    decision: str
    text: str
    provider: str
    milliseconds: int | None
    is_settled: bool


def lines(plan: Sequence[Planned], picture: Picture) -> list[Line]:
    """A line for each decision, in the order of posting; one that waits for each webhook that has none yet."""
    return [line for planned in plan for line in _lines_of(planned, picture)]


def problems(plan: Sequence[Planned], picture: Picture) -> list[str]:
    """What was lost, doubled or judged otherwise than it should have been, in words; empty when all is well."""
    found = [problem for planned in plan for problem in _unexpected(planned, picture)]
    books: defaultdict[str, list[Text]] = defaultdict(list)
    for text in picture.texts:
        books[text.reference or ""].append(text)
    for message in picture.messages.values():
        found += _against_books(message, len(books.pop(str(message.id), [])))
    found += [f"the fake Mitto sent {len(texts)} of no ledger row" for texts in books.values()]
    twins = Counter((text.to, text.text) for text in picture.texts)
    found += [f"{masked(f'+{to}')} got the same text {times} times" for (to, _), times in twins.items() if times > 1]
    return found


def unknown(picture: Picture) -> list[Message]:
    """Rows whose outcome nobody can know: shown, and never sent again blindly."""
    return [message for message in picture.messages.values() if message.state is _S.UNKNOWN]


def _lines_of(planned: Planned, picture: Picture) -> list[Line]:
    contact = masked(planned.phone) if planned.phone else "-"
    if planned.is_forged:
        answer = picture.answers.get(planned.delivery.webhook_id)
        return [_bare(planned, contact, f"answered {answer}, not kept" if answer else "…", settled=answer is not None)]
    made = _decisions_of(planned, picture)
    if not made:
        row = _row_of(planned, picture)
        on_its_way = row is None or row.state in {InboxState.RECEIVED, InboxState.PROCESSED}
        told = "…" if row is None or on_its_way else f"{row.state.value}: {row.reason or ''}"
        return [_bare(planned, contact, told, settled=False)]
    shown = [_line(planned, contact, decision, picture) for decision in made]
    missing = len(planned.expected) - len(made)
    return shown + [_bare(planned, contact, "…", settled=False)] * max(missing, 0)


def _key(planned: Planned, automation: str = "") -> str:
    return f"{planned.delivery.webhook_id} {automation}"


def _line(planned: Planned, contact: str, decision: DecisionRow, picture: Picture) -> Line:
    message = picture.messages.get(decision.message_id) if decision.message_id else None
    text, provider, taken_ms, settled = "", "", None, message is None and decision.verdict != "send"
    if message is not None:
        text = picture.bodies.get(message.id, "")
        provider = _path(message, picture.steps.get(message.id, ()))
        settled = _is_settled(message, picture.texts)
        if message.accepted_at is not None:
            taken_ms = round((message.accepted_at - message.received_at).total_seconds() * 1000)
    event = planned.label if len(planned.expected) < 2 else f"{planned.label}: {_automation(decision, picture)}"
    return Line(
        key=_key(planned, _automation(decision, picture)),
        event=event,
        contact=contact,
        decision=_decision(decision),
        text=text,
        provider=provider,
        milliseconds=taken_ms,
        is_settled=settled,
    )


def _bare(planned: Planned, contact: str, decision: str, *, settled: bool) -> Line:
    return Line(
        key=_key(planned),
        event=planned.label,
        contact=contact,
        decision=decision,
        text="",
        provider="",
        milliseconds=None,
        is_settled=settled,
    )


def _decision(decision: DecisionRow) -> str:
    if decision.hold_until is not None:
        until = local(decision.hold_until, decision.zone or "UTC")
        return f"hold: {words(decision.reason)} until {until[7:12]}{until[15:]}"
    return f"{decision.verdict}: {words(decision.reason)}" if decision.reason else decision.verdict


def _path(message: Message, steps: Sequence[Step]) -> str:
    """The states a text went through, as attempts and reports tell them: `429 → 429 → accepted → delivered`."""
    told = [_told(step) for step in steps]
    if message.state in {_S.HELD, _S.WITHHELD} or not told:
        told.append(message.state.value)
    return " → ".join(told)


def _told(step: Step) -> str:
    if step.kind != "attempt" or step.code is None:
        return step.state.value
    if step.state is _S.QUEUED:
        return words(step.code).removeprefix("http ")  # it goes back to the queue: what the provider said is the news
    return f"{step.state.value} ({words(step.code)})"


def _is_settled(message: Message, texts: Sequence[Text]) -> bool:
    """Whether nothing more is to come: an unknown outcome is settled when no report can come of it."""
    if message.state is _S.UNKNOWN:
        return all(text.reference != str(message.id) for text in texts)
    return message.state in _ENDED


def _row_of(planned: Planned, picture: Picture) -> WebhookEvent | None:
    wanted = planned.delivery.webhook_id
    return next((row for row in picture.inbox if row.webhook_id == wanted), None)


def _decisions_of(planned: Planned, picture: Picture) -> list[DecisionRow]:
    """The newest decision of each automation about this webhook."""
    row = _row_of(planned, picture)
    if row is None:
        return []
    about = [decision for decision in picture.decisions if decision.webhook_event_id == row.id]
    newest = {decision.source_id: decision for decision in sorted(about, key=lambda each: each.decided_at)}
    return sorted(newest.values(), key=lambda each: _automation(each, picture))


def _automation(decision: DecisionRow, picture: Picture) -> str:
    return words(picture.automations.get(str(decision.source_id), "?"))


def _unexpected(planned: Planned, picture: Picture) -> list[str]:
    answer = picture.answers.get(planned.delivery.webhook_id)
    wanted = 401 if planned.is_forged else 200
    row = _row_of(planned, picture)
    if answer != wanted:
        return [f"{planned.label}: answered {answer}, not {wanted}"]
    if planned.is_forged:
        return [] if row is None else [f"{planned.label}: a forged webhook was kept"]
    if row is None or row.state is not InboxState.PROCESSED:
        return [f"{planned.label}: lost, its inbox row is {'missing' if row is None else row.state.value}"]
    made = {_automation(each, picture): each.reason or "send" for each in _decisions_of(planned, picture)}
    wrong = [
        f"{planned.label}: {words(key)} was {words(made.get(words(key))) or 'not decided'}, not {_either(allowed)}"
        for key, allowed in planned.expected.items()
        if made.get(words(key)) not in allowed
    ]
    extra = made.keys() - {words(key) for key in planned.expected}
    return wrong + [f"{planned.label}: {name} decided uninvited" for name in sorted(extra)]


def _either(allowed: frozenset[str]) -> str:
    return " or ".join(sorted(words(outcome) for outcome in allowed))


def _against_books(message: Message, texts: int) -> list[str]:
    """What the ledger row says against what the fake Mitto has."""
    about = f"{message.subject} ({message.state.value})"
    if texts > 1:
        return [f"{about}: doubled, the fake Mitto has {texts} texts of it"]
    if message.state in _TEXT_LEFT and texts == 0:
        return [f"{about}: lost, the fake Mitto has no text of it"]
    if message.state in _NO_TEXT and texts == 1:
        return [f"{about}: the fake Mitto has a text of it all the same"]
    if message.state in {_S.PLANNED, _S.QUEUED, _S.SUBMITTING}:
        return [f"{about}: not sent in time"]
    if message.state is _S.UNKNOWN and texts == 1:
        return [f"{about}: not settled in time, though the fake Mitto has its text"]
    return []
