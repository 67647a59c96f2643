"""An occasion: what happened to one person in one shop, as far as a text about it needs to know.

Made from an event when the event is processed, kept sealed with the run, and read again at every later decision, so
that a text held until morning is judged on the same facts as at night, only later.
"""

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from smsblossom.domain.automations import Trigger
from smsblossom.domain.events import Address, Customer, FulfillmentChanged, Order, RawPhone

_IMPORTED_AFTER: Final = timedelta(hours=1)


class Occasion(msgspec.Struct, frozen=True, kw_only=True):
    trigger: Trigger
    subject: str
    """The business fact: `order:{id}`, `fulfillment:{id}:{status}`. Part of the business key."""
    order_id: int
    happened_at: datetime
    """What lateness is measured from."""
    phones: tuple[RawPhone, ...]
    own_phone: RawPhone | None
    """The customer's own number: the only one that marketing consent speaks of."""
    address: Address | None
    locale: str | None
    variables: dict[str, Any]
    status: str | None = None
    is_test: bool = False
    is_pos: bool = False
    is_imported: bool = False
    phone_only: bool = False
    """Checked out with a phone and no e-mail: Shopify itself may text this person about the order."""

    def __repr__(self) -> str:
        return f"Occasion(trigger={self.trigger!r}, subject={self.subject!r})"


def of_order(trigger: Trigger, order: Order, *, triggered_at: datetime) -> Occasion:
    """The occasion of an order's creation or payment.

    A creation is as old as the order itself, however late its webhook was made: imports and restored shops announce
    old orders as new ones.
    """
    happened_at = triggered_at
    if trigger is Trigger.ORDER_CREATED and order.processed_at is not None:
        happened_at = min(triggered_at, order.processed_at)
    return Occasion(
        trigger=trigger,
        subject=f"order:{order.id}",
        order_id=order.id,
        happened_at=happened_at,
        phones=order.phones,
        own_phone=order.customer.phone if order.customer else None,
        address=order.address,
        locale=order.locale,
        variables={"order": order_variables(order), "customer": customer_variables(order.customer)},
        is_test=order.is_test,
        is_pos=order.source_name == "pos",
        is_imported=_is_imported(order),
        phone_only=order.email is None and bool(order.phones),
    )


def of_fulfillment(event: FulfillmentChanged, *, base: "OrderBasis", triggered_at: datetime) -> Occasion:
    """The occasion of a parcel's new status, with what is known of its order."""
    tracking = {"company": event.tracking_company, "url": event.tracking_url}
    return Occasion(
        trigger=Trigger.FULFILLMENT_UPDATE,
        subject=f"fulfillment:{event.id}:{event.status}",
        order_id=event.order_id,
        happened_at=triggered_at,
        phones=event.phones + base.phones,
        own_phone=base.own_phone,
        address=event.address or base.address,
        locale=base.locale,
        variables={
            "order": base.order or {"name": event.name},
            "customer": base.customer,
            "fulfillment": {"status": event.status, "name": event.name, "tracking": tracking},
        },
        status=event.status,
        is_test=base.is_test,
        is_pos=base.is_pos,
    )


class OrderBasis(msgspec.Struct, frozen=True, kw_only=True):
    """What an order row contributes to occasions that come later and know less."""

    phones: tuple[RawPhone, ...] = ()
    own_phone: RawPhone | None = None
    address: Address | None = None
    locale: str | None = None
    customer: dict[str, Any] = {}
    order: dict[str, Any] | None = None
    is_test: bool = False
    is_pos: bool = False

    def __repr__(self) -> str:
        return "OrderBasis(…)"


def basis_of(order: Order) -> OrderBasis:
    return OrderBasis(
        phones=order.phones,
        own_phone=order.customer.phone if order.customer else None,
        address=order.address,
        locale=order.locale,
        customer=customer_variables(order.customer),
        order=order_variables(order),
        is_test=order.is_test,
        is_pos=order.source_name == "pos",
    )


def order_variables(order: Order) -> dict[str, Any]:
    """What a template may say of an order. Money stays a string: Liquid's `money` filter reads it exactly."""
    return {
        "name": order.name or f"#{order.id}",
        "total": None if order.total is None else str(order.total),
        "currency": order.currency,
        "status_url": order.status_url,
    }


def customer_variables(customer: Customer | None) -> dict[str, Any]:
    if customer is None:
        return {}
    return {"first_name": customer.first_name, "last_name": customer.last_name}


def _is_imported(order: Order) -> bool:
    """Made long after it was placed: written by an importer, not by a buyer."""
    if order.processed_at is None or order.created_at is None:
        return False
    return order.created_at - order.processed_at > _IMPORTED_AFTER
