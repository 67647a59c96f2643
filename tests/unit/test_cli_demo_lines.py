"""The demo's own check: it must see what is lost, what is doubled, and what was judged otherwise than planned."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from smsblossom.cli import demo_lines
from smsblossom.cli.demo_lines import Picture
from smsblossom.cli.demo_plan import SEND, Planned, make_plan
from smsblossom.domain.ids import ContactId, MessageId, WebhookEventId, shop_id_of
from smsblossom.domain.messages import MessageClass, MessageState
from smsblossom.sandbox.mitto_ledger import Text
from smsblossom.store.decisions import DecisionRow
from smsblossom.store.inbox import InboxState, WebhookEvent
from smsblossom.store.messages import Message
from smsblossom.store.trail import Step

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SHOP = shop_id_of("demo-1.myshopify.com")
PLANNED: Planned = make_plan("demo-1.myshopify.com", NOW, 0).first[0]
AUTOMATION, MESSAGE = UUID(int=7), MessageId(UUID(int=8))


def message(state: MessageState) -> Message:
    return Message(
        shop_id=SHOP, id=MESSAGE, source="automation", source_id=AUTOMATION, subject="order:1", step=0,
        phone_index=b"p", resend_no=0, contact_id=ContactId(UUID(int=9)), run_id=None,
        message_class=MessageClass.TRANSACTIONAL_URGENT, state=state, phone_sealed=b"", body_sealed=b"",
        sender="Demo1", encoding="GSM", parts=1, due_at=NOW, expires_at=None, provider="mitto", provider_id=None,
        claim_owner=None, claimed_at=None, attempts=1, error_class=None, error_code=None, received_at=NOW,
        planned_at=NOW, decided_at=NOW, accepted_at=NOW, finished_at=None, request_id="r",
    )  # fmt: skip


def text(reference: UUID | None = MESSAGE, *, to: str = "12025550110", seq: int = 1) -> Text:
    return Text(
        seq=seq, at=NOW, id=str(seq), api="classic", to=to, sender="Demo1", text="thank you", type="GSM", parts=1,
        reference=str(reference),
    )  # fmt: skip


DECISION = DecisionRow(
    verdict="send", reason=None, gate=None, rules_version="1", hold_until=None, source="automation",
    source_id=AUTOMATION, subject="order:1", step=0, contact_id=None, message_id=MESSAGE, phone_index=b"p",
    zone="America/New_York", zone_basis="address", local_time=None, warnings=[], facts_sealed=b"", decided_at=NOW,
    request_id="r", webhook_event_id=UUID(int=6),
)  # fmt: skip
ROW = WebhookEvent(
    shop_id=SHOP, id=WebhookEventId(UUID(int=6)), topic="orders/create", webhook_id=PLANNED.delivery.webhook_id,
    shop_domain="demo-1.myshopify.com", triggered_at=NOW, received_at=NOW, request_id="r", body_sealed=None,
    state=InboxState.PROCESSED, reason=None, object_id="1",
)  # fmt: skip
GOOD = Picture(
    answers={PLANNED.delivery.webhook_id: 200},
    inbox=[ROW],
    decisions=[DECISION],
    automations={str(AUTOMATION): "order_created"},
    messages={MESSAGE: message(MessageState.DELIVERED)},
    bodies={MESSAGE: "thank you"},
    steps={MESSAGE: [Step(MESSAGE, "attempt", MessageState.ACCEPTED, None, NOW)]},
    texts=[text()],
)


def in_state(state: MessageState, *texts: Text) -> Picture:
    return replace(GOOD, messages={MESSAGE: message(state)}, texts=texts)


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        pytest.param(GOOD, [], id="all well"),
        pytest.param(in_state(MessageState.ACCEPTED), ["lost"], id="accepted, but no text"),
        pytest.param(
            in_state(MessageState.DELIVERED, text(), text(to="12025550111", seq=2)),
            ["doubled"],
            id="two texts of one row",
        ),
        pytest.param(
            in_state(MessageState.DELIVERED, text(), text(UUID(int=1), to="1202", seq=2)),
            ["no ledger row"],
            id="a text of no row",
        ),
        pytest.param(
            in_state(MessageState.DELIVERED, text(), text(UUID(int=1), seq=2)),
            ["no ledger row", "2 times"],
            id="the same text twice under two references",
        ),
        pytest.param(in_state(MessageState.REFUSED, text()), ["all the same"], id="refused, yet sent"),
        pytest.param(in_state(MessageState.HELD, text()), ["all the same"], id="held, yet sent"),
        pytest.param(in_state(MessageState.QUEUED), ["not sent in time"], id="still queued"),
        pytest.param(in_state(MessageState.SUBMITTING), ["not sent in time"], id="still submitting"),
        pytest.param(in_state(MessageState.UNKNOWN), [], id="unknown and never taken is no fault of ours"),
        pytest.param(
            in_state(MessageState.UNKNOWN, text()), ["not settled in time"], id="unknown, though the books have it"
        ),
        pytest.param(replace(GOOD, answers={PLANNED.delivery.webhook_id: 503}), ["answered 503"], id="not accepted"),
        pytest.param(replace(GOOD, inbox=[]), ["inbox row is missing"], id="answered 200, not kept"),
        pytest.param(
            replace(GOOD, inbox=[msgspec.structs.replace(ROW, state=InboxState.RECEIVED)]),
            ["received"],
            id="never processed",
        ),
        pytest.param(replace(GOOD, decisions=[]), ["not decided"], id="no decision"),
        pytest.param(
            replace(GOOD, decisions=[msgspec.structs.replace(DECISION, verdict="withhold", reason="opted_out")]),
            ["opted out, not send"],
            id="withheld, though it should leave",
        ),
        pytest.param(
            replace(GOOD, decisions=[DECISION, msgspec.structs.replace(DECISION, source_id=UUID(int=3))]),
            ["uninvited"],
            id="a decision that nobody planned",
        ),
    ],
)
def test_problems_are_seen_and_named(picture: Picture, said: list[str]) -> None:
    found = demo_lines.problems([PLANNED], picture)
    assert len(found) == len(said), found
    for problem, words in zip(found, said, strict=True):
        assert words in problem


def test_a_forged_webhook_must_not_be_kept() -> None:
    forged = replace(PLANNED, is_forged=True, expected={})
    refused = replace(GOOD, answers={PLANNED.delivery.webhook_id: 401}, messages={}, texts=[])
    assert demo_lines.problems([forged], replace(refused, inbox=[])) == []
    assert "was kept" in demo_lines.problems([forged], refused)[0]


@pytest.mark.parametrize(
    ("state", "texts", "settled"),
    [
        pytest.param(MessageState.QUEUED, (), False, id="on its way"),
        pytest.param(MessageState.ACCEPTED, (text(),), False, id="its report is to come"),
        pytest.param(MessageState.DELIVERED, (text(),), True, id="delivered"),
        pytest.param(MessageState.UNKNOWN, (text(),), False, id="taken: a report will come"),
        pytest.param(MessageState.UNKNOWN, (), True, id="not taken: none will"),
    ],
)
def test_when_nothing_more_is_to_come(*, state: MessageState, texts: tuple[Text, ...], settled: bool) -> None:
    (line,) = demo_lines.lines([PLANNED], in_state(state, *texts))
    assert line.is_settled is settled


def test_two_plans_share_no_id_and_each_says_what_must_come_of_it() -> None:
    first, second = (make_plan("demo-1.myshopify.com", NOW, seed).all for seed in (1, 2))
    ids = [planned.delivery.webhook_id for planned in (*first, *second)]
    assert len(set(ids)) == len(ids)
    assert all(planned.expected for planned in first if not planned.is_forged)
    assert any(SEND in planned.expected.values() for planned in first)
