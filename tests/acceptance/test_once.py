"""One order becomes one text, however often and however many ways it is told."""

import asyncio
from dataclasses import replace
from uuid import uuid4

from smsblossom.sandbox import phones
from smsblossom.sandbox.shopify_catalogue import web_order
from smsblossom.sandbox.shopify_orders import fulfillment_body, new_fulfillment, order_body
from smsblossom.sandbox.shopify_shapes import Ids, encode
from tests.support.running import MIDDAY, Service, Shop


async def test_the_same_webhook_fifty_times_at_once_is_one_row_and_one_text(service: Service, shop: Shop) -> None:
    body = encode(order_body(web_order(Ids(1), service.now(), phones.plain(1))))
    headers = shop.signed("orders/create", body, webhook_id=str(uuid4()))
    answers = await asyncio.gather(*(shop.deliver(body, headers) for _ in range(50)))
    await shop.settled(reported=True)
    assert set(answers) == {(200, "ok\n")}
    assert await shop.inbox() == [("processed", None)]
    assert await shop.verdicts() == ["order_created: send"]
    assert [text.reference for text in await shop.texts()] == [str(row["id"]) for row in await shop.fetch("messages")]
    assert len(await shop.texts()) == 1


async def test_one_order_under_ten_ids_and_three_topics_is_one_text_per_automation(
    service: Service, shop: Shop
) -> None:
    order = replace(web_order(Ids(2), service.now(), phones.plain(2)), financial_status="paid")
    body, event_id = encode(order_body(order)), str(uuid4())
    topics = ["orders/create", "orders/paid", "orders/updated"]
    await asyncio.gather(*(shop.post(topic, body, event_id=event_id) for topic in topics for _ in range(10)))
    await shop.settled(reported=True)
    verdicts = await shop.verdicts()
    assert {verdict: verdicts.count(verdict) for verdict in verdicts} == {
        "order_created: send": 1,
        "order_created: withhold duplicate": 9,
        "order_paid: send": 1,
        "order_paid: withhold duplicate": 9,
    }
    assert len(await shop.texts()) == len(await shop.fetch("messages")) == 2
    assert len(await shop.fetch("webhook_events")) == 30
    assert len(await shop.fetch("orders")) == len(await shop.fetch("contacts")) == 1


async def test_a_parcel_told_by_two_topics_is_one_text_per_status(service: Service, shop: Shop) -> None:
    with service.at(MIDDAY):
        order = web_order(Ids(3), service.now(), phones.plain(3))
        parcel = new_fulfillment(Ids(4), service.now(), order, destination=order.shipping_address)
        for topic in ("fulfillments/create", "fulfillments/update", "fulfillments/update"):
            await shop.taken(topic, fulfillment_body(parcel))
        await shop.taken("fulfillments/update", fulfillment_body(replace(parcel, shipment_status="delivered")))
    assert await shop.verdicts() == [
        "fulfillment_update: send",
        "fulfillment_update: withhold duplicate",
        "fulfillment_update: withhold duplicate",
        "fulfillment_update: send",
    ]


async def test_the_same_order_in_two_shops_is_a_text_of_each(service: Service) -> None:
    one, other = await service.new_shop(), await service.new_shop()
    body, webhook_id = encode(order_body(web_order(Ids(5), service.now(), phones.plain(4)))), str(uuid4())
    for shop in (one, other):
        await shop.taken("orders/create", body, webhook_id=webhook_id)
    assert [len(await shop.texts()) for shop in (one, other)] == [1, 1]


async def test_sweeping_while_the_first_jobs_run_doubles_nothing(service: Service, shop: Shop) -> None:
    """Jobs are found again by their rows: sweeping while the first ones run adds nothing."""
    body = encode(order_body(web_order(Ids(6), service.now(), phones.plain(5))))
    await asyncio.gather(shop.post("orders/create", body), *(service.sweep() for _ in range(5)))
    await shop.settled(reported=True)
    assert len(await shop.texts()) == 1
