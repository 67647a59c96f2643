"""The ledger: one row per business key, one claim per row, and only the claim's holder may end it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy import text

from smsblossom.domain.ids import MessageId, ShopId
from smsblossom.domain.messages import MessageClass, MessageState
from smsblossom.store import messages, workers
from smsblossom.store.engine import Store
from smsblossom.store.messages import Draft

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ME, SOMEBODY = uuid4(), uuid4()


def draft(**changed: Any) -> Draft:
    row = Draft(
        source="automation",
        source_id=UUID(int=1),
        subject="order:1",
        step=0,
        phone_index=b"p",
        resend_no=0,
        contact_id=None,
        run_id=None,
        message_class=MessageClass.TRANSACTIONAL,
        state=MessageState.QUEUED,
        phone_sealed=b"x",
        body_sealed=b"x",
        sender="Blossom",
        encoding="GSM",
        parts=1,
        due_at=NOW,
        expires_at=None,
        provider="mitto",
        received_at=NOW,
        planned_at=NOW,
        decided_at=NOW,
        queued_at=NOW,
        updated_at=NOW,
        request_id="r",
    )
    return msgspec.structs.replace(row, **changed)


async def planned(store: Store, **changed: Any) -> tuple[ShopId, MessageId]:
    shop = ShopId(uuid4())
    async with store.transaction(shop) as connection:
        message_id = await messages.plan(connection, shop, draft(**changed))
    assert message_id is not None
    return shop, message_id


async def claim(store: Store, shop: ShopId, message_id: MessageId, owner: UUID = ME) -> datetime | None:
    async with store.transaction(shop) as connection:
        return await messages.claim(connection, shop, message_id, owner=owner, decided_at=NOW, now=NOW)


async def state_of(store: Store, shop: ShopId, message_id: MessageId) -> MessageState:
    async with store.transaction(shop) as connection:
        found = await messages.lock(connection, shop, message_id)
    assert found is not None
    return found.state


@pytest.mark.parametrize(
    ("changed", "is_another"),
    [
        ({}, False),
        ({"request_id": "other", "state": MessageState.HELD, "sender": "Other"}, False),
        ({"source": "campaign"}, True),
        ({"source_id": UUID(int=2)}, True),
        ({"subject": "order:2"}, True),
        ({"step": 1}, True),
        ({"phone_index": b"q"}, True),
        ({"resend_no": 1}, True),
    ],
)
async def test_what_makes_a_text_another_text(store: Store, changed: dict[str, Any], is_another: bool) -> None:
    shop, _ = await planned(store)
    async with store.transaction(shop) as connection:
        found = await messages.plan(connection, shop, draft(**changed))
    assert (found is not None) is is_another


async def test_one_of_many_planners_and_one_of_many_claimers_wins(store: Store) -> None:
    shop = ShopId(uuid4())

    async def plan() -> MessageId | None:
        async with store.transaction(shop) as connection:
            return await messages.plan(connection, shop, draft())

    (message_id,) = [found for found in await asyncio.gather(*(plan() for _ in range(10))) if found]
    claims = await asyncio.gather(*(claim(store, shop, message_id, uuid4()) for _ in range(10)))
    assert len([claimed for claimed in claims if claimed]) == 1


@pytest.mark.parametrize("state", MessageState)
async def test_only_a_row_that_waits_can_be_claimed(store: Store, state: MessageState) -> None:
    shop, message_id = await planned(store, state=state)
    waits = {MessageState.QUEUED, MessageState.HELD, MessageState.PLANNED}
    assert (await claim(store, shop, message_id) is not None) is (state in waits)


async def test_a_claimed_row_is_found_by_its_reference(store: Store) -> None:
    shop, message_id = await planned(store)
    async with store.transaction() as connection:
        assert await messages.shop_of_reference(connection, [str(message_id)]) == {}
    await claim(store, shop, message_id)
    async with store.transaction() as connection:
        assert await messages.shop_of_reference(connection, [str(message_id), "x"]) == {str(message_id): shop}


@pytest.mark.parametrize("how", ["accepted", "refused", "unknown", "released", "released from another claim"])
@pytest.mark.parametrize("owner", [ME, SOMEBODY], ids=["the holder", "somebody else"])
async def test_only_the_holder_ends_a_claim(store: Store, how: str, owner: UUID) -> None:
    shop, message_id = await planned(store)
    claimed_at = await claim(store, shop, message_id)
    assert claimed_at is not None
    async with store.transaction(shop) as connection:
        row = (connection, shop, message_id)
        match how:
            case "accepted":
                kept = await messages.record_accepted(*row, owner=owner, provider_id="p", now=NOW)
            case "refused" | "unknown":
                kept = await messages.record_ended(
                    *row, owner=owner, state=MessageState(how), error_class="x", error_code="x", now=NOW
                )
            case _:
                of = claimed_at if how == "released" else claimed_at - timedelta(microseconds=1)
                kept = await messages.release(
                    *row, owner=owner, claimed_at=of, error_class="x", error_code="x", due_at=NOW, now=NOW
                )
    ends = {"released": MessageState.QUEUED, "released from another claim": MessageState.SUBMITTING}
    expected = ends.get(how) or MessageState(how)
    assert kept is (owner == ME and how != "released from another claim")
    assert await state_of(store, shop, message_id) is (expected if kept else MessageState.SUBMITTING)


@pytest.mark.parametrize("later", [MessageState.DELIVERED, MessageState.UNDELIVERED, MessageState.SENT])
async def test_a_report_that_was_faster_than_the_answer_is_not_undone(store: Store, later: MessageState) -> None:
    shop, message_id = await planned(store)
    await claim(store, shop, message_id)
    async with store.transaction(shop) as connection:
        row = await messages.lock(connection, shop, message_id)
        assert row is not None
        await messages.apply_receipt(connection, row, later, provider_id="p", now=NOW)
        await messages.record_accepted(connection, shop, message_id, owner=ME, provider_id="p", now=NOW)
        ended = {"state": MessageState.UNKNOWN, "error_class": "x", "error_code": "x"}
        assert not await messages.record_ended(connection, shop, message_id, owner=ME, now=NOW, **ended)  # type: ignore[arg-type]
    assert await state_of(store, shop, message_id) is later


@pytest.mark.parametrize(
    ("alive", "old", "expected"),
    [
        pytest.param(True, True, MessageState.SUBMITTING, id="alive"),
        pytest.param(False, True, MessageState.UNKNOWN, id="dead"),
        pytest.param(False, False, MessageState.SUBMITTING, id="woken up, not yet beaten"),
    ],
)
async def test_a_claim_whose_holder_is_dead_becomes_unknown(
    store: Store, alive: bool, old: bool, expected: MessageState
) -> None:
    shop, message_id = await planned(store)
    owner = uuid4()
    if alive:
        async with store.transaction() as connection:
            await workers.beat(connection, owner, kind="worker", host="h", pid=1, queues=[])
    await claim(store, shop, message_id, owner)
    async with store.sweeper() as sweeper:
        if old:
            await sweeper.execute(text("UPDATE messages SET claimed_at = claimed_at - interval '1 minute'"))
        limits = {"dead_after": timedelta(seconds=15), "longest_call": timedelta(minutes=5)}
        found = await messages.orphaned_to_unknown(sweeper, now=NOW, **limits)
    assert ((shop, message_id) in found) is (expected is MessageState.UNKNOWN)
    assert await state_of(store, shop, message_id) is expected


@pytest.mark.parametrize(
    ("state", "due_in_s", "is_due"),
    [
        (MessageState.HELD, 0, True),
        (MessageState.HELD, 1, False),
        (MessageState.QUEUED, -6, True),
        (MessageState.QUEUED, -4, False),
        (MessageState.PLANNED, -6, True),
        (MessageState.SUBMITTING, -600, False),
        (MessageState.UNKNOWN, -600, False),
        (MessageState.WITHHELD, -600, False),
        (MessageState.ACCEPTED, -600, False),
    ],
)
async def test_what_the_sweeper_finds_due(store: Store, state: MessageState, due_in_s: int, is_due: bool) -> None:
    past = NOW - timedelta(days=5)  # before every other test's rows
    shop, message_id = await planned(store, state=state, due_at=past + timedelta(seconds=due_in_s))
    async with store.sweeper() as sweeper:
        found = await messages.due(sweeper, now=past, grace=timedelta(seconds=5), limit=1000)
    assert ((shop, message_id) in {(row.shop_id, row.id) for row in found}) is is_due
