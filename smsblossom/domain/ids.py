"""Typed ids. A shop's id is computed from its domain; all others are UUIDv7, made by the caller."""

import re
import uuid
from typing import NewType
from uuid import UUID

ShopId = NewType("ShopId", UUID)
ContactId = NewType("ContactId", UUID)
WebhookEventId = NewType("WebhookEventId", UUID)
AutomationId = NewType("AutomationId", UUID)
MessageId = NewType("MessageId", UUID)
DecisionId = NewType("DecisionId", UUID)

SYSTEM = ShopId(UUID(int=0))
"""The shop of rows that belong to no shop: provider callbacks before they are matched, system schedules, audit."""

_SHOP_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "myshopify.com")
_SHOP_DOMAIN = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9\-]{0,98}\.myshopify\.com")


def is_shop_domain(domain: str) -> bool:
    """Whether this is a myshopify domain, by full match: Python's `$` would accept a trailing newline."""
    return _SHOP_DOMAIN.fullmatch(domain) is not None


def shop_id_of(domain: str) -> ShopId:
    """The id of the shop at this myshopify domain, known or not (UUIDv5 of the lower-cased domain)."""
    return ShopId(uuid.uuid5(_SHOP_NAMESPACE, domain.lower()))
