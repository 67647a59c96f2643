"""Claims on ledger rows: who may give one back, and what a holder that stands still can hold up."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from smsblossom.domain.ids import MessageId, ShopId, shop_id_of
from smsblossom.domain.messages import MessageClass, MessageState
from smsblossom.store import messages
from smsblossom.store.engine import Store, open_store
from smsblossom.store.messages import Draft
from tests.support.servers import Database

NOW = datetime(2026, 11, 22, 15, 30, tzinfo=UTC)
SOON = timedelta(0)
"""After this, a claim whose holder has no heartbeat is dead."""


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    async with open_store(database.app_url) as opened:
        yield opened


@pytest.fixture
def shop_id() -> ShopId:
    return shop_id_of(f"claims-{uuid4().hex}.myshopify.com")


async def test_only_the_very_claim_gives_a_row_back(store: Store, shop_id: ShopId) -> None:
    owner, message_id = uuid4(), await queued(store, shop_id)
    lost = await uncommitted_claim(store, shop_id, message_id, owner)
    kept = await claim(store, shop_id, message_id, owner)
    assert not await release(store, shop_id, message_id, owner, lost)
    assert await state_of(store, shop_id, message_id) is MessageState.SUBMITTING
    assert await release(store, shop_id, message_id, owner, kept)
    assert await state_of(store, shop_id, message_id) is MessageState.QUEUED


async def test_a_holder_that_stands_still_does_not_stop_the_sweep(store: Store, shop_id: ShopId) -> None:
    held, other = await queued(store, shop_id), await queued(store, shop_id)
    for message_id in (held, other):
        await claim(store, shop_id, message_id, uuid4())
    async with store.transaction(shop_id) as standing_still:
        await messages.lock(standing_still, shop_id, held)
        async with asyncio.timeout(10):
            assert await orphans(store, shop_id, dead_after=SOON) == [other]
    assert await orphans(store, shop_id, dead_after=SOON) == [held]


async def test_a_holder_that_has_just_woken_up_is_not_taken_for_dead(store: Store, shop_id: ShopId) -> None:
    never_beat, message_id = uuid4(), await queued(store, shop_id)
    await claim(store, shop_id, message_id, never_beat)
    assert await orphans(store, shop_id, dead_after=timedelta(minutes=1)) == []
    assert await orphans(store, shop_id, dead_after=SOON) == [message_id]


async def queued(store: Store, shop_id: ShopId) -> MessageId:
    draft = Draft(
        source="automation",
        source_id=uuid4(),
        subject="order:1",
        step=0,
        phone_index=b"index",
        resend_no=0,
        contact_id=None,
        run_id=None,
        message_class=MessageClass.TRANSACTIONAL_URGENT,
        state=MessageState.QUEUED,
        phone_sealed=b"sealed",
        body_sealed=b"sealed",
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
        request_id="request",
    )
    async with store.transaction(shop_id) as connection:
        message_id = await messages.plan(connection, shop_id, draft)
    assert message_id is not None
    return message_id


async def claim(store: Store, shop_id: ShopId, message_id: MessageId, owner: UUID) -> datetime:
    async with store.transaction(shop_id) as connection:
        claimed_at = await messages.claim(connection, shop_id, message_id, owner=owner, decided_at=NOW, now=NOW)
    assert claimed_at is not None
    return claimed_at


async def uncommitted_claim(store: Store, shop_id: ShopId, message_id: MessageId, owner: UUID) -> datetime:
    """A claim whose connection broke before PostgreSQL heard of the commit."""
    async with store.transaction(shop_id) as connection:
        claimed_at = await messages.claim(connection, shop_id, message_id, owner=owner, decided_at=NOW, now=NOW)
        await connection.rollback()
    assert claimed_at is not None
    return claimed_at


async def release(store: Store, shop_id: ShopId, message_id: MessageId, owner: UUID, claimed_at: datetime) -> bool:
    async with store.transaction(shop_id) as connection:
        return await messages.release(
            connection,
            shop_id,
            message_id,
            owner=owner,
            claimed_at=claimed_at,
            error_class="transient",
            error_code="test",
            due_at=NOW,
            now=NOW,
        )


async def state_of(store: Store, shop_id: ShopId, message_id: MessageId) -> MessageState:
    async with store.transaction(shop_id) as connection:
        message = await messages.lock(connection, shop_id, message_id)
    assert message is not None
    return message.state


async def orphans(store: Store, shop_id: ShopId, *, dead_after: timedelta) -> list[MessageId]:
    """This shop's rows that one round of the sweeper finds."""
    async with store.sweeper() as sweeper:
        found = await messages.orphaned_to_unknown(
            sweeper, dead_after=dead_after, longest_call=timedelta(minutes=5), now=NOW
        )
    return [message_id for shop, message_id in found if shop == shop_id]
