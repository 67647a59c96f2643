"""The three compliance endpoints. The path is the topic; all else is as on `/webhooks/shopify`."""

from functools import partial

from aiohttp import web

from smsblossom.shopify.payloads import COMPLIANCE_TOPICS
from webhooks.shopify import receive_topic


def routes() -> list[web.RouteDef]:
    return [
        web.post(f"/webhooks/gdpr/{topic}", partial(receive_topic, topic=topic)) for topic in sorted(COMPLIANCE_TOPICS)
    ]
