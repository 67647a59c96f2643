"""Who is texted, when, and why not: from a signed webhook to the fake Mitto's ledger, with a clock that moves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from smsblossom.domain.ids import SYSTEM
from smsblossom.sandbox import phones
from smsblossom.sandbox.shopify_others import shop_body
from smsblossom.store import controls
from smsblossom.store.shops import ShopStatus
from smsblossom.usecases import manage
from tests.support.orders import body_of, consent_of, new_order, parcel_of
from tests.support.running import MIDDAY, PATIENCE_S, Service, Shop

NIGHT = datetime(2026, 11, 25, 4, 0, tzinfo=UTC)
"""23:00 in New York."""
MORNING = datetime(2026, 11, 25, 13, 0, tzinfo=UTC)
"""08:00 in New York: the window opens."""
PHONE = phones.plain(700)


@asynccontextmanager
async def switched_on(service: Service, *names: str) -> AsyncIterator[None]:
    """System switches that are on while the body runs."""
    await _switch(service, names, "on")
    try:
        yield
    finally:
        await _switch(service, names, "off")


async def _switch(service: Service, names: tuple[str, ...], value: str) -> None:
    async with service.runtime.store.transaction(SYSTEM) as connection:
        for name in names:
            await controls.put(connection, name, value, by="test", now=service.now())


async def states(shop: Shop) -> list[tuple[str, str | None]]:
    return [(row["state"], row["error_code"]) for row in await shop.fetch("messages")]


async def eventually(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.01)


class TestStop:
    """An exact STOP ends every text of that shop to that number, at once and until START."""

    async def test_a_reply_of_stop_withholds_the_next_order(self, service: Service) -> None:
        shop, phone = await service.new_shop(sender="12025550190"), phones.magic(6, 20)
        await shop.taken("orders/create", body_of(new_order(service.now(), phone)))
        await eventually(lambda: shop.fetch("suppressions"))
        await shop.taken("orders/create", body_of(new_order(service.now(), phone)))
        assert await shop.verdicts() == ["order_created: send", "order_created: withhold opted_out"]
        ((suppression), (heard)) = *await shop.fetch("suppressions"), *await shop.fetch("inbound_messages")
        assert (suppression["reason"], heard["keyword"]) == ("keyword_stop", "stop")
        (said,) = await shop.fetch("consent_events")
        assert (said["state"], said["source"], said["kind"]) == ("unsubscribed", "keyword_stop", "marketing")
        assert len(await shop.texts()) == 1

    async def test_start_takes_it_back_and_other_words_do_nothing(self, service: Service) -> None:
        shop, phone = await service.new_shop(sender="12025550191"), phones.plain(701)
        order = body_of(new_order(service.now(), phone))
        await shop.taken("orders/create", order)
        for heard, word in enumerate(["stop it please, wrong size", "STOP", "Start"], start=1):
            service.mitto.inbound(sender=phone.removeprefix("+"), to="12025550191", text=word)
            await eventually(lambda n=heard: has_heard(shop, n))
            await shop.taken("orders/create", body_of(new_order(service.now(), phone)))
        assert await shop.verdicts() == [
            "order_created: send",
            "order_created: send",
            "order_created: withhold opted_out",
            "order_created: send",
        ]

    async def test_it_counts_for_every_shop_of_the_sender_that_knows_the_number(self, service: Service) -> None:
        sender, phone = "12025550192", phones.plain(702)
        knows, knows_too, never_wrote = [await service.new_shop(sender=sender) for _ in range(3)]
        elsewhere = await service.new_shop(sender="12025550193")
        for shop in (knows, knows_too, elsewhere):
            await shop.taken("orders/create", body_of(new_order(service.now(), phone)))
        service.mitto.inbound(sender=phone.removeprefix("+"), to=sender, text="STOP")
        for shop in (knows, knows_too):
            await eventually(lambda shop=shop: shop.fetch("suppressions"))
        assert await never_wrote.fetch("suppressions") == await elsewhere.fetch("suppressions") == []


async def has_heard(shop: Shop, count: int) -> bool:
    return len(await shop.fetch("inbound_messages")) == count


class TestQuietHours:
    """A shipping update waits for the recipient's morning; an order confirmation does not."""

    async def test_it_is_held_at_night_and_judged_again_in_the_morning(self, service: Service, shop: Shop) -> None:
        with service.at(NIGHT):
            await shop.taken("fulfillments/update", parcel_of(new_order(NIGHT, PHONE), NIGHT))
            assert await shop.verdicts() == ["fulfillment_update: hold quiet_hours"]
            ((row),) = await shop.fetch("messages")
            assert (row["state"], row["due_at"]) == ("held", MORNING)
            service.advance(MORNING - timedelta(minutes=1) - service.now())
            await service.sweep()
            await asyncio.sleep(0.05)
            assert await states(shop) == [("held", None)]
            service.advance(timedelta(minutes=1, seconds=1))
            await service.sweep()
            await eventually(shop.texts)
            await shop.settled(reported=True)
        assert await shop.verdicts() == ["fulfillment_update: hold quiet_hours", "fulfillment_update: send"]
        assert await states(shop) == [("delivered", None)]
        held, released = await shop.fetch("decisions")
        assert (held["zone"], held["zone_basis"], held["local_time"][11:16]) == ("America/New_York", "address", "23:00")
        assert held["message_id"] == released["message_id"] == row["id"]

    async def test_one_that_grew_too_old_overnight_is_withheld(self, service: Service, shop: Shop) -> None:
        with service.at(NIGHT):
            await shop.taken("fulfillments/update", parcel_of(new_order(NIGHT, PHONE), NIGHT))
            service.advance(timedelta(hours=12, minutes=1))
            await service.sweep()
            await eventually(lambda: is_in(shop, "withheld"))
        assert await states(shop) == [("withheld", "too_late")]
        assert await shop.texts() == []

    async def test_a_stop_in_the_night_wins_in_the_morning(self, service: Service) -> None:
        shop = await service.new_shop(sender="12025550194")
        with service.at(NIGHT):
            await shop.taken("fulfillments/update", parcel_of(new_order(NIGHT, PHONE), NIGHT))
            service.mitto.inbound(sender=PHONE.removeprefix("+"), to="12025550194", text="STOP")
            await eventually(lambda: shop.fetch("suppressions"))
            service.advance(MORNING - service.now() + timedelta(seconds=1))
            await service.sweep()
            await eventually(lambda: is_in(shop, "withheld"))
        assert await states(shop) == [("withheld", "opted_out")]
        assert await shop.texts() == []

    async def test_an_order_confirmation_passes_at_any_hour(self, service: Service, shop: Shop) -> None:
        with service.at(NIGHT):
            await shop.taken("orders/create", body_of(new_order(NIGHT, PHONE)))
        assert await shop.verdicts() == ["order_created: send"]

    async def test_the_recipients_clock_counts_and_not_the_shops(self, service: Service) -> None:
        shop = await service.new_shop(timezone="Pacific/Honolulu")
        with service.at(NIGHT):  # 18:00 in Honolulu
            await shop.taken("fulfillments/update", parcel_of(new_order(NIGHT, PHONE), NIGHT))
        assert await shop.verdicts() == ["fulfillment_update: hold quiet_hours"]


async def is_in(shop: Shop, state: str) -> bool:
    return {found for found, _ in await states(shop)} == {state}


class TestBetweenDecisionAndDelivery:
    """A text that was decided and not sent yet is judged again when something happened since."""

    @pytest.mark.parametrize("happens", ["stop", "stop_all", "paused", "a minute"])
    async def test_what_happens_in_between_counts(self, service: Service, happens: str) -> None:
        sender = f"1202555{'019' + str(len(happens))}"
        shop = await service.new_shop(sender=sender)
        phone = phones.plain(710 + len(happens))
        async with AsyncExitStack() as afterwards:
            async with switched_on(service, controls.SENDING_HELD):
                assert (await shop.post("orders/create", body_of(new_order(service.now(), phone))))[0] == 200
                await eventually(lambda: is_in(shop, "queued"))
                if happens == "stop":
                    service.mitto.inbound(sender=phone.removeprefix("+"), to=sender, text="STOP")
                    await eventually(lambda: shop.fetch("suppressions"))
                if happens == "paused":
                    await manage.set_shop_status(service.runtime, shop.domain, ShopStatus.PAUSED, actor="test")
                if happens == "stop_all":
                    await afterwards.enter_async_context(switched_on(service, controls.STOP_ALL))
                later = timedelta(seconds=61 if happens == "a minute" else 6)
                afterwards.enter_context(service.at(service.now() + later))
            await service.sweep()
            await shop.settled()
        reason = {"stop": "opted_out", "stop_all": "stop_all", "paused": "shop_paused"}.get(happens)
        expected = "order_created: send" if reason is None else f"order_created: withhold {reason}"
        assert await shop.verdicts() == ["order_created: send", expected]
        assert len(await shop.texts()) == (reason is None)


class TestSwitches:
    async def test_stop_all_withholds_and_its_release_sends_again(self, service: Service, shop: Shop) -> None:
        await manage.stop_all(service.runtime, actor="test")
        try:
            await shop.taken("orders/create", body_of(new_order(service.now(), PHONE)))
        finally:
            await manage.release(service.runtime, actor="test")
        await shop.taken("orders/create", body_of(new_order(service.now(), PHONE)))
        assert await shop.verdicts() == ["order_created: withhold stop_all", "order_created: send"]
        assert len(await shop.texts()) == 1

    async def test_a_paused_shop_sends_nothing_until_it_is_resumed(self, service: Service, shop: Shop) -> None:
        for status in (ShopStatus.PAUSED, ShopStatus.ACTIVE):
            await manage.set_shop_status(service.runtime, shop.domain, status, actor="test")
            await shop.taken("orders/create", body_of(new_order(service.now(), PHONE)))
        assert await shop.verdicts() == ["order_created: withhold shop_paused", "order_created: send"]
        actions = [row["action"] for row in await shop.fetch("audit_log")]
        assert actions == ["shop.added", "shop.paused", "shop.active"]

    async def test_a_disabled_automation_starts_no_run(self, service: Service, shop: Shop) -> None:
        found = await manage.find_shop(service.runtime, shop.domain)
        await manage.set_automation(service.runtime, found, "order_created", enabled=False, actor="test")
        await shop.taken("orders/create", body_of(new_order(service.now(), PHONE)))
        assert await shop.inbox() == [("processed", "no automation waits for this")]
        assert await shop.verdicts() == []

    async def test_an_uninstall_stops_sending_unless_it_is_older_than_the_install(
        self, service: Service, shop: Shop
    ) -> None:
        gone = shop_body(shop.domain, service.now())
        await shop.taken("app/uninstalled", gone, triggered_at=service.now() - timedelta(hours=1))
        await shop.taken("orders/create", body_of(new_order(service.now(), PHONE)))
        await shop.taken("app/uninstalled", gone)
        await shop.taken("orders/create", body_of(new_order(service.now(), PHONE)))
        assert await shop.inbox() == [
            ("ignored", "older than the present install"),
            ("processed", None),
            ("processed", "sending stopped"),
            ("processed", None),
        ]
        assert await shop.verdicts() == ["order_created: send", "order_created: withhold shop_uninstalled"]


class TestLateness:
    @pytest.mark.parametrize(
        ("topic", "triggered", "processed", "verdict"),
        [
            pytest.param("orders/create", 5.9, 5.9, "send", id="just fresh"),
            pytest.param("orders/create", 6.1, 0, "withhold too_late", id="told late"),
            pytest.param("orders/create", 0, 6.1, "withhold too_late", id="an old order told now"),
            pytest.param("orders/create", -2, 0, "send", id="their clock is ahead"),
            pytest.param("orders/paid", 0, 300, "send", id="an old order paid now"),
            pytest.param("orders/paid", 6.1, 0, "withhold too_late", id="a payment told late"),
        ],
    )
    async def test_the_larger_of_both_ages_counts(
        self, service: Service, shop: Shop, topic: str, triggered: float, processed: float, verdict: str
    ) -> None:
        now = service.now()
        order = new_order(now, PHONE, processed_at=now - timedelta(hours=processed))
        order = replace(order, created_at=order.processed_at)
        await shop.taken(topic, body_of(order), triggered_at=now - timedelta(hours=triggered))
        assert await shop.verdicts() == [
            f"{topic.replace('orders/', 'order_').replace('create', 'created')}: {verdict}"
        ]

    async def test_without_triggered_at_the_arrival_counts(self, service: Service, shop: Shop) -> None:
        import json

        raw = json.dumps(body_of(new_order(service.now(), PHONE))).encode()
        headers = shop.signed("orders/create", raw)
        del headers["X-Shopify-Triggered-At"]
        assert (await shop.send(raw, headers))[0] == 200
        await shop.settled()
        assert await shop.verdicts() == ["order_created: send"]


class TestPromotional:
    """The offer after payment: off by default, only with marketing consent, capped, in lawful hours."""

    async def shop(self, service: Service, **settings: object) -> Shop:
        shop = await service.new_shop(settings=settings)
        found = await manage.find_shop(service.runtime, shop.domain)
        await manage.set_automation(service.runtime, found, "thank_you_offer", enabled=True, actor="test")
        return shop

    async def paid(self, service: Service, shop: Shop, order: Any) -> str:
        """What was decided of the offer for another paid order of the same person."""
        again = new_order(service.now(), order.phone, customer=order.customer, shipping_address=order.shipping_address)
        await shop.taken("orders/paid", body_of(again))
        return next(verdict for verdict in reversed(await shop.verdicts()) if verdict.startswith("thank_you_offer"))

    async def test_it_needs_consent_and_spacing(self, service: Service) -> None:
        with service.at(MIDDAY):
            shop, order = await self.shop(service), new_order(MIDDAY, phones.plain(720))
            assert await self.paid(service, shop, order) == "thank_you_offer: withhold no_marketing_consent"
            await shop.taken("customers_marketing_consent/update", consent_of(order, "subscribed", MIDDAY))
            assert await self.paid(service, shop, order) == "thank_you_offer: send"
            assert await self.paid(service, shop, order) == "thank_you_offer: withhold sent_recently"
            service.advance(timedelta(hours=17, minutes=-90))
            assert await self.paid(service, shop, order) == "thank_you_offer: withhold sent_recently"
            service.advance(timedelta(hours=6, minutes=90))
            assert await self.paid(service, shop, order) == "thank_you_offer: send"
        assert len(await shop.texts()) == 7  # five payments, two offers

    async def test_the_shops_own_spacing_and_cap_count(self, service: Service) -> None:
        with service.at(MIDDAY):
            shop = await self.shop(service, spacing_hours=0, cap_per_day=2)
            order = new_order(MIDDAY, phones.plain(721))
            await shop.taken("customers_marketing_consent/update", consent_of(order, "subscribed", MIDDAY))
            verdicts = [await self.paid(service, shop, order) for _ in range(3)]
        assert verdicts == ["thank_you_offer: send"] * 2 + ["thank_you_offer: withhold cap_reached"]

    async def test_a_longer_spacing_of_the_shop_counts(self, service: Service) -> None:
        with service.at(MIDDAY):
            shop, order = await self.shop(service, spacing_hours=48), new_order(MIDDAY, phones.plain(722))
            await shop.taken("customers_marketing_consent/update", consent_of(order, "subscribed", MIDDAY))
            assert await self.paid(service, shop, order) == "thank_you_offer: send"
            service.advance(timedelta(hours=25))
            assert await self.paid(service, shop, order) == "thank_you_offer: withhold sent_recently"

    @pytest.mark.parametrize("order_of_arrival", [("subscribed", "unsubscribed"), ("unsubscribed", "subscribed")])
    async def test_the_latest_word_counts_in_any_order_of_arrival(
        self, service: Service, order_of_arrival: tuple[str, str]
    ) -> None:
        said_at = {"subscribed": MIDDAY - timedelta(days=2), "unsubscribed": MIDDAY - timedelta(days=1)}
        with service.at(MIDDAY):
            shop, order = await self.shop(service), new_order(MIDDAY, phones.plain(723))
            for state in order_of_arrival:
                await shop.taken("customers_marketing_consent/update", consent_of(order, state, said_at[state]))
            assert await self.paid(service, shop, order) == "thank_you_offer: withhold no_marketing_consent"

    async def test_consent_on_no_number_does_not_reach_somebody_elses(self, service: Service) -> None:
        """The customer has no phone; the parcel goes to a friend, who said nothing."""
        with service.at(MIDDAY):
            shop, order = await self.shop(service), new_order(MIDDAY, phones.plain(724))
            assert order.customer is not None
            phoneless = replace(order, phone=None, customer=replace(order.customer, phone=None))
            await shop.taken("customers_marketing_consent/update", consent_of(phoneless, "subscribed", MIDDAY))
            assert await self.paid(service, shop, phoneless) == "thank_you_offer: withhold no_marketing_consent"

    async def test_it_is_held_where_the_law_says_so(self, service: Service) -> None:
        with service.at(NIGHT):
            shop, order = await self.shop(service), new_order(NIGHT, phones.plain(725))
            await shop.taken("customers_marketing_consent/update", consent_of(order, "subscribed", NIGHT))
            assert await self.paid(service, shop, order) == "thank_you_offer: hold quiet_hours"


async def test_point_of_sale_orders_are_left_alone(service: Service, shop: Shop) -> None:
    await shop.taken("orders/create", body_of(new_order(service.now(), PHONE, source_name="pos")))
    assert await shop.verdicts() == ["order_created: withhold pos_order"]


async def test_a_buyer_whom_shopify_texts_too_is_warned_about(service: Service, shop: Shop) -> None:
    update = {**shop_body(shop.domain, service.now()), "transactional_sms_disabled": False}
    await shop.taken("shop/update", update)
    order = new_order(service.now(), PHONE, email=None)
    assert order.customer is not None
    await shop.taken("orders/create", body_of(replace(order, customer=replace(order.customer, email=None))))
    (decision,) = await shop.fetch("decisions")
    assert (decision["verdict"], decision["warnings"]) == ("send", ["shopify_texts_too"])


async def test_a_parcel_uses_the_phone_of_its_order(service: Service, shop: Shop) -> None:
    with service.at(MIDDAY):
        order = new_order(MIDDAY, phones.plain(730))
        await shop.taken("orders/create", body_of(order))
        await shop.taken("fulfillments/update", {**parcel_of(order, MIDDAY), "destination": None})
    assert await shop.verdicts() == ["order_created: send", "fulfillment_update: send"]
    contacts, decisions = await shop.fetch("contacts"), await shop.fetch("decisions")
    assert {row["contact_id"] for row in decisions} == {row["id"] for row in contacts}
    assert len({text.to for text in await shop.texts()}) == 1


async def test_an_unknown_sender_of_an_inbound_text_is_no_shops_business(service: Service) -> None:
    request_id = uuid4().hex
    path = f"{service.url}/webhooks/mitto/{service.runtime.settings.mitto_callback_token}/inbound"
    fields = {"from": "12025550188", "to": "99887766", "text": "STOP"}
    async with service.session.post(path, json=fields, headers={"X-Request-Id": request_id}) as response:
        assert response.status == 200

    async def ended() -> bool:
        query = "SELECT state FROM webhook_events WHERE request_id = $1"
        return bool(await service.rows.fetchval(query, request_id) == "ignored")

    await eventually(ended)
