"""One order becomes one text, however often and however many ways it is told."""

import asyncio
from uuid import uuid4

from smsblossom.sandbox import phones
from smsblossom.sandbox.shopify_catalogue import web_order
from smsblossom.sandbox.shopify_orders import order_body
from smsblossom.sandbox.shopify_shapes import Ids, encode
from tests.support.running import Service, Shop


async def test_the_same_webhook_fifty_times_at_once_is_one_row_and_one_text(service: Service, shop: Shop) -> None:
    body = encode(order_body(web_order(Ids(1), service.now(), phones.plain(1))))
    headers = shop.signed("orders/create", body, webhook_id=str(uuid4()))
    answers = await asyncio.gather(*(shop.send(body, headers) for _ in range(50)))
    await shop.settled(reported=True)
    assert set(answers) == {(200, "ok\n")}
    assert await shop.inbox() == [("processed", None)]
    assert await shop.verdicts() == ["order_created: send"]
    assert len(await shop.texts()) == 1
