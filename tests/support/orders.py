"""Webhook bodies of one person's orders, for tests that care about who and when."""

import itertools
from dataclasses import replace
from datetime import datetime
from typing import Any

from smsblossom.sandbox.shopify_catalogue import web_order
from smsblossom.sandbox.shopify_orders import Order, fulfillment_body, new_fulfillment, order_body
from smsblossom.sandbox.shopify_shapes import Address, Customer, Ids

_SEEDS = itertools.count(10_000)
NEW_YORK = {"province": "New York", "province_code": "NY", "city": "New York", "zip": "10001"}


def new_order(now: datetime, phone: str | None, **changed: Any) -> Order:
    """An order that no other test has, of a customer of its own with this phone, to New York."""
    seed = next(_SEEDS)
    address = Address(phone=phone, **NEW_YORK)
    order = web_order(Ids(seed), now, phone, number=seed)
    customer = Customer(id=Ids(seed).number(), phone=phone, address=address)
    return replace(order, **{"customer": customer, "shipping_address": address, "billing_address": address, **changed})


def body_of(order: Order) -> dict[str, Any]:
    return order_body(order)


def parcel_of(order: Order, now: datetime, status: str = "in_transit") -> dict[str, Any]:
    """fulfillments/update of this order."""
    parcel = new_fulfillment(Ids(next(_SEEDS)), now, order, destination=order.shipping_address)
    return fulfillment_body(replace(parcel, shipment_status=status))


def consent_of(order: Order, state: str, at: datetime) -> dict[str, Any]:
    """customers_marketing_consent/update of this order's customer."""
    assert order.customer is not None
    said = {"state": state, "opt_in_level": "single_opt_in", "consent_updated_at": at.isoformat()}
    return {"id": order.customer.id, "phone": order.customer.phone, "sms_marketing_consent": said}
