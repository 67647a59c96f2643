"""`smsblossom webhook`: sign and post a webhook, as Shopify would."""

import asyncio
import re
from datetime import datetime
from typing import BinaryIO, Final
from uuid import uuid4

import aiohttp
import click

from smsblossom import settings as settings_module
from smsblossom.bootstrap import Clock
from smsblossom.cli import options, show
from smsblossom.sandbox import shopify
from smsblossom.usecases.manage import Refused

_TOPIC: Final = re.compile(r"[a-z][a-z_]*/[a-z][a-z_]*")
_WITHIN: Final = aiohttp.ClientTimeout(total=5, sock_connect=1)


@click.group()
def webhook() -> None:
    """Sign and post a webhook, as Shopify would."""


@webhook.command()
@click.argument("topic")
@options.one_shop
@click.option("--file", type=click.File("rb"), required=True, help="The JSON body; - reads standard input.")
@click.option(
    "--id", "webhook_id", help="X-Shopify-Webhook-Id; a fresh one otherwise. The same one twice is one event."
)
@click.option("--url", help="Where the service listens; APP_URL otherwise.")
@click.option("--triggered-at", type=options.MOMENT, help="X-Shopify-Triggered-At, with its offset; now otherwise.")
@click.option(
    "--redate", is_flag=True, help="Move the body's dates so that it happened a second ago: old orders send nothing."
)
@options.as_json
def send(
    topic: str,
    shop: str,
    file: BinaryIO,
    webhook_id: str | None,
    url: str | None,
    triggered_at: datetime | None,
    *,
    redate: bool,
    as_json: bool,
) -> None:
    """Sign a body with the first SHOPIFY_API_SECRET, post it, and say the answer. Exit code 1 unless it is 200.

    \b
    smsblossom webhook send orders/create --shop example.myshopify.com --file order.json --redate
    curl -s https://example.com/order.json | smsblossom webhook send orders/create --shop S --file -
    """  # noqa: D301  click's mark of a paragraph that it must not wrap
    if not _TOPIC.fullmatch(topic):
        raise Refused(f"topic: {topic!r} is no webhook topic; for example orders/create")
    now = Clock().now()
    body = shopify.redate(file.read(), now) if redate else file.read()
    if not body:
        raise Refused("file: it is empty; for example --file order.json")
    settings = settings_module.load()
    known_id = webhook_id or str(uuid4())
    headers = shopify.headers(
        topic,
        body,
        shop=shop,
        secret=settings.shopify_api_secrets[0].decode(),
        webhook_id=known_id,
        event_id=None,
        triggered_at=triggered_at or now,
    )
    address = f"{(url or settings.app_url).rstrip('/')}/webhooks/shopify"
    status, answer, request_id = asyncio.run(_post(address, body, headers))
    if as_json:
        show.json({"status": status, "answer": answer, "webhook_id": known_id, "request_id": request_id})
    else:
        click.echo(f"{status} {answer} (webhook id {known_id}, request id {request_id})")
    if status != 200:
        click.get_current_context().exit(1)


async def _post(address: str, body: bytes, headers: dict[str, str]) -> tuple[int, str, str | None]:
    try:
        async with (
            aiohttp.ClientSession(timeout=_WITHIN) as client,
            client.post(address, data=body, headers=headers, allow_redirects=False) as response,
        ):
            return response.status, (await response.text()).strip(), response.headers.get("X-Request-Id")
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        hint = "start it with: smsblossom up, or name it with --url http://127.0.0.1:8080"
        raise Refused(f"url: nothing answers at {address} ({type(error).__name__}); {hint}") from error
