"""What the Shopify builders have in common: ids, money, times, people, and JSON as Shopify writes it."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

Body = dict[str, Any]

EASTERN = timezone(timedelta(hours=-5))
TOKYO = timezone(timedelta(hours=9))
ATHENS = timezone(timedelta(hours=2))
SHOP_ID = 548_380_009


class Ids:
    """A repeatable source of ids: the same seed gives the same run. Ids lie above 2**53, where doubles lose digits."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(f"{seed}:shopify")

    def number(self) -> int:
        return self._random.randrange(2**53 + 1, 2**63 - 1, 2)

    def token(self) -> str:
        """32 hex digits: cart and checkout tokens."""
        return f"{self._random.getrandbits(128):032x}"

    def uuid(self) -> str:
        """The form of X-Shopify-Webhook-Id and X-Shopify-Event-Id."""
        digits = f"{self._random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def encode(body: Body) -> bytes:
    r"""Compact JSON escaped like Shopify's raw bodies: `\/`, `\u0026`, `\u003c`, `\u003e`; other text is UTF-8."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    for char, escape in (("/", "\\/"), ("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e")):
        text = text.replace(char, escape)  # none of the four occurs outside a JSON string
    return text.encode()


def iso(at: datetime | None, zone: timezone | None = None) -> str | None:
    """Seconds precision with a numeric offset, `2026-11-22T10:00:00-05:00`; the offsets of one body differ."""
    if at is None:
        return None
    return at.astimezone(zone or at.tzinfo).isoformat(timespec="seconds")


def gid(kind: str, number: int) -> str:
    return f"gid://shopify/{kind}/{number}"


def money_set(amount: str, currency: str, presentment: tuple[str, str] | None = None) -> Body:
    """Shop money and what the buyer saw, which is the same unless `presentment` (amount, currency) is given."""
    shown, shown_currency = presentment or (amount, currency)
    return {
        "shop_money": {"amount": amount, "currency_code": currency},
        "presentment_money": {"amount": shown, "currency_code": shown_currency},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A postal address; `phone` is free text, as buyers type it."""

    first_name: str = "Robin"
    last_name: str = "Sample"
    address1: str = "1 Example St"
    city: str = "Washington"
    zip: str = "20001"
    province: str | None = "District of Columbia"
    province_code: str | None = "DC"
    country: str = "United States"
    country_code: str = "US"
    phone: str | None = None

    def body(self) -> Body:
        return {
            "first_name": self.first_name,
            "address1": self.address1,
            "phone": self.phone,
            "city": self.city,
            "zip": self.zip,
            "province": self.province,
            "country": self.country,
            "last_name": self.last_name,
            "address2": None,
            "company": None,
            "latitude": 38.9072,
            "longitude": -77.0369,
            "name": f"{self.first_name} {self.last_name}".strip(),
            "country_code": self.country_code,
            "province_code": self.province_code,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A person in the shop's books. Since API 2025-01 their body carries no consent, no tags and no totals."""

    id: int
    first_name: str | None = "Robin"
    last_name: str | None = "Sample"
    email: str | None = "robin@example.com"
    phone: str | None = None
    currency: str = "USD"
    address: Address | None = None

    def body(self, created_at: datetime, updated_at: datetime) -> Body:
        body: Body = {
            "id": self.id,
            "created_at": iso(created_at),
            "updated_at": iso(updated_at, EASTERN),
            "first_name": self.first_name,
            "last_name": self.last_name,
            "state": "disabled",
            "note": None,
            "verified_email": True,
            "multipass_identifier": None,
            "tax_exempt": False,
            "email": self.email,
            "phone": self.phone,
            "currency": self.currency,
            "tax_exemptions": [],
            "admin_graphql_api_id": gid("Customer", self.id),
        }
        if self.address is not None:
            body["default_address"] = self.default_address(self.address)
        return body

    def default_address(self, address: Address) -> Body:
        body = address.body()
        del body["latitude"], body["longitude"]
        named = {"id": self.id // 2, "customer_id": self.id, "country_name": address.country, "default": True}
        return {**body, **named}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of an order or a checkout; `price` is a money string in the shop's currency."""

    id: int
    product_id: int
    variant_id: int
    title: str = "Linen Shirt & Belt"
    variant_title: str | None = "Blue / M"
    price: str = "49.90"
    quantity: int = 1
    sku: str = "LINEN-M"
    properties: object = None
