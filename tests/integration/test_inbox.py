"""The inbox: each delivery once, whoever brings it and however many come at once."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec

from smsblossom.domain.ids import ShopId, WebhookEventId
from smsblossom.store import inbox
from smsblossom.store.engine import Store
from smsblossom.store.ids import new_id
from smsblossom.store.inbox import Delivery, InboxState

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def delivery(shop_id: ShopId, webhook_id: str, **changed: Any) -> Delivery:
    row = Delivery(
        shop_id=shop_id,
        id=WebhookEventId(new_id()),
        topic="orders/create",
        webhook_id=webhook_id,
        shopify_event_id=None,
        shop_domain="example.myshopify.com",
        api_version=None,
        triggered_at=None,
        received_at=NOW,
        request_id="r",
        body_sealed=b"x",
        body_bytes=1,
    )
    return msgspec.structs.replace(row, **changed)


def new_shop() -> ShopId:
    return ShopId(uuid4())


async def test_one_statement_may_span_shops_and_says_what_is_new(store: Store) -> None:
    one, other = new_shop(), new_shop()
    rows = [delivery(one, "a"), delivery(other, "a"), delivery(one, "b"), delivery(one, "a", topic="orders/paid")]
    assert await inbox.add_many(store, rows) == {row.id for row in rows}
    again = [delivery(one, "a"), delivery(one, "c"), delivery(other, "a")]
    assert await inbox.add_many(store, again) == {again[1].id}


async def test_a_delivery_twice_in_one_statement_is_one_row(store: Store) -> None:
    shop = new_shop()
    rows = [delivery(shop, "a") for _ in range(5)]
    assert len(await inbox.add_many(store, rows)) == 1


async def test_statements_with_the_same_rows_in_any_order_neither_deadlock_nor_double(store: Store) -> None:
    shops, dice = [new_shop() for _ in range(3)], random.Random(1)

    async def insert() -> set[WebhookEventId]:
        rows = [delivery(shop, str(number)) for shop in shops for number in range(40)]
        dice.shuffle(rows)
        return await inbox.add_many(store, rows)

    new = await asyncio.gather(*(insert() for _ in range(10)))
    assert sum(map(len, new)) == 120


async def test_a_row_is_settled_once_and_is_overdue_only_before(store: Store) -> None:
    shop = new_shop()
    row = delivery(shop, "a", received_at=NOW - timedelta(days=400))
    await inbox.add_many(store, [row])
    async with store.sweeper() as sweeper:
        assert row.id in {each.id for each in await inbox.overdue(sweeper, before=NOW, limit=1000)}
    async with store.transaction(shop) as connection:
        for expected in (True, False):
            ended = await inbox.settle(
                connection, shop, row.id, InboxState.IGNORED, reason="x", object_id=None, now=NOW
            )
            assert ended is expected
    async with store.sweeper() as sweeper:
        assert row.id not in {each.id for each in await inbox.overdue(sweeper, before=NOW, limit=1000)}


async def test_a_body_is_read_by_its_own_shop_alone(store: Store) -> None:
    shop = new_shop()
    row = delivery(shop, "a", body_sealed=b"sealed")
    await inbox.add_many(store, [row])
    async with store.transaction(shop) as connection:
        found = await inbox.load(connection, shop, row.id)
    assert found is not None
    assert (found.body_sealed, found.state) == (b"sealed", InboxState.RECEIVED)
    async with store.transaction(new_shop()) as connection:
        assert await inbox.load(connection, shop, row.id) is None
