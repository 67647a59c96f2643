"""Contacts, orders, consent and opt-outs: the same rows in whatever order the news arrives."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from smsblossom.domain.consent import ConsentKind, ConsentState
from smsblossom.domain.ids import ContactId, ShopId
from smsblossom.store import consent, contacts, orders
from smsblossom.store.consent import ConsentEntry
from smsblossom.store.contacts import ContactFacts
from smsblossom.store.engine import Store
from smsblossom.store.orders import OrderFacts
from smsblossom.store.tables import contacts as contacts_table
from smsblossom.store.tables import orders as orders_table

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NOBODY = ContactFacts(
    customer_id=None,
    phone_sealed=None,
    phone_index=None,
    email_sealed=None,
    email_index=None,
    name_sealed=None,
    locale=None,
    country=None,
    province=None,
    source="test",
    shopify_updated_at=None,
)
ORDER = OrderFacts(
    id=5,
    contact_id=None,
    name=None,
    checkout_token=None,
    source_name=None,
    is_test=False,
    currency=None,
    total=None,
    phone_sealed=None,
    phone_index=None,
    country=None,
    province=None,
    financial_status=None,
    fulfillment_status=None,
    processed_at=None,
    paid_at=None,
    cancelled_at=None,
    shopify_updated_at=NOON,
    details_sealed=b"d",
)


def new_shop() -> ShopId:
    return ShopId(uuid4())


async def tell(store: Store, shop: ShopId, *events: dict[str, Any]) -> list[ContactId | None]:
    async with store.transaction(shop) as connection:
        return [
            await contacts.upsert(connection, shop, msgspec.structs.replace(NOBODY, **event), now=NOON)
            for event in events
        ]


async def people(store: Store, shop: ShopId) -> list[dict[str, Any]]:
    async with store.transaction(shop) as connection:
        rows = await connection.execute(contacts_table.select().where(contacts_table.c.shop_id == shop))
        return [row._asdict() for row in rows]


class TestContacts:
    async def test_news_in_any_order_makes_the_same_person(self, store: Store) -> None:
        events = [
            {"customer_id": 7, "phone_index": b"old", "locale": "en", "shopify_updated_at": NOON},
            {"customer_id": 7, "phone_index": b"new", "shopify_updated_at": NOON + MINUTE},
            {"customer_id": 7, "email_index": b"e", "country": "GR", "shopify_updated_at": NOON - MINUTE},
        ]
        ends = []
        for order in permutations(events):
            shop = new_shop()
            ids = await tell(store, shop, *order)
            (row,) = await people(store, shop)
            assert set(ids) == {row["id"]}
            told = ("phone_index", "email_index", "locale", "country", "shopify_updated_at")
            ends.append(tuple(row[name] for name in told))
        assert set(ends) == {(b"new", b"e", "en", "GR", NOON + MINUTE)}

    async def test_who_nobody_can_name_is_nobody(self, store: Store) -> None:
        shop = new_shop()
        assert await tell(store, shop, {}, {"locale": "el"}) == [None, None]
        assert await people(store, shop) == []

    async def test_a_guest_is_known_by_phone_else_by_e_mail(self, store: Store) -> None:
        shop = new_shop()
        one, again, by_mail, by_mail_again = await tell(
            store,
            shop,
            {"phone_index": b"p", "email_index": b"e"},
            {"phone_index": b"p", "email_index": b"other"},
            {"email_index": b"e2"},
            {"email_index": b"e2", "locale": "el"},
        )
        assert one == again
        assert by_mail == by_mail_again != one

    async def test_a_guest_with_a_customers_phone_is_that_customer(self, store: Store) -> None:
        shop = new_shop()
        customer, guest = await tell(store, shop, {"customer_id": 7, "phone_index": b"p"}, {"phone_index": b"p"})
        assert customer == guest

    async def test_shops_do_not_share_people(self, store: Store) -> None:
        one, other = new_shop(), new_shop()
        assert await tell(store, one, {"customer_id": 7}) != await tell(store, other, {"customer_id": 7})


class TestOrders:
    async def row(self, store: Store, *events: dict[str, Any]) -> dict[str, Any]:
        shop = new_shop()
        async with store.transaction(shop) as connection:
            for event in events:
                await orders.upsert(connection, shop, msgspec.structs.replace(ORDER, **event), now=NOON)
            (row,) = await connection.execute(orders_table.select().where(orders_table.c.shop_id == shop))
        return row._asdict()

    async def test_news_in_any_order_makes_the_same_order(self, store: Store) -> None:
        events: list[dict[str, Any]] = [
            {"financial_status": "pending", "name": "#1", "shopify_updated_at": NOON},
            {"financial_status": "paid", "paid_at": NOON, "shopify_updated_at": NOON + MINUTE},
            {
                "financial_status": "paid",
                "fulfillment_status": "fulfilled",
                "country": "GR",
                "shopify_updated_at": NOON + 2 * MINUTE,
            },
        ]
        names = ("financial_status", "fulfillment_status", "name", "country", "paid_at", "shopify_updated_at")
        ends = set()
        for order in permutations(events):
            row = await self.row(store, *order)
            ends.add(tuple(row[name] for name in names))
        assert ends == {("paid", "fulfilled", "#1", "GR", NOON, NOON + 2 * MINUTE)}

    @pytest.mark.parametrize("order", list(permutations(["pending", "paid", "refunded"])))
    async def test_between_bodies_of_one_moment_the_further_status_wins(
        self, store: Store, order: tuple[str, ...]
    ) -> None:
        row = await self.row(store, *({"financial_status": status} for status in order))
        assert row["financial_status"] == "refunded"

    async def test_a_newer_body_wins_even_when_it_steps_back(self, store: Store) -> None:
        row = await self.row(
            store, {"financial_status": "paid"}, {"financial_status": "pending", "shopify_updated_at": NOON + MINUTE}
        )
        assert row["financial_status"] == "pending"

    async def test_the_largest_id_is_kept_exactly(self, store: Store) -> None:
        assert (await self.row(store, {"id": 2**63 - 1}))["id"] == 2**63 - 1


class TestConsent:
    def entry(self, **changed: Any) -> ConsentEntry:
        entry = ConsentEntry(
            contact_id=None,
            phone_index=b"p",
            kind=ConsentKind.MARKETING,
            state=ConsentState.SUBSCRIBED,
            level=None,
            source="test",
            consented_at=NOON,
            recorded_at=NOON,
        )
        return msgspec.structs.replace(entry, **changed)

    async def test_a_webhook_is_written_down_once_and_other_words_each(self, store: Store) -> None:
        shop, webhook = new_shop(), uuid4()
        async with store.transaction(shop) as connection:
            for entry in (
                self.entry(webhook_event_id=webhook),
                self.entry(webhook_event_id=webhook, recorded_at=NOON + MINUTE),
                self.entry(recorded_at=NOON + 2 * MINUTE),
            ):
                await consent.add(connection, shop, entry)
            # Row-level security shows this transaction its own shop alone.
            rows = await connection.exec_driver_sql("SELECT count(*) FROM consent_events")
            assert rows.scalar_one() == 2

    @pytest.mark.parametrize(
        ("words", "suppressed"),
        [
            pytest.param([("stop", 0)], True, id="stop"),
            pytest.param([("stop", 0), ("start", 1)], False, id="stop, start"),
            pytest.param([("start", 1), ("stop", 0)], True, id="a start that nothing was stopped by"),
            pytest.param([("stop", 0), ("start", 1), ("stop", 2)], True, id="stop, start, stop"),
            pytest.param([("stop", 2), ("start", 1)], True, id="an older start comes late"),
            pytest.param([("stop", 0), ("start", 2), ("stop", 1)], False, id="an older stop comes late"),
            pytest.param([("stop", 0), ("stop", 0)], True, id="stop twice"),
            pytest.param([("stop", 0), ("start", 0)], True, id="a tie stays stopped"),
        ],
    )
    async def test_the_latest_word_of_an_opt_out_counts(
        self, store: Store, words: list[tuple[str, int]], suppressed: bool
    ) -> None:
        shop = new_shop()
        async with store.transaction(shop) as connection:
            for word, minute in words:
                at = NOON + minute * MINUTE
                if word == "stop":
                    await consent.suppress(connection, shop, b"p", reason="keyword_stop", at=at)
                else:
                    await consent.lift(connection, shop, b"p", at=at)
            rows = await connection.exec_driver_sql("SELECT lifted_at IS NULL FROM suppressions")
            assert [row[0] for row in rows] == [suppressed]
