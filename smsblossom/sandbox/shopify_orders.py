"""Order and fulfillment bodies in the 2026-04 shape: no `checkout_id`, no consent inside `customer`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from smsblossom.sandbox.shopify_shapes import (
    EASTERN,
    SHOP_ID,
    Address,
    Body,
    Customer,
    Ids,
    Line,
    gid,
    iso,
    money_set,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fulfillment:
    """One parcel; `shipment_status` stays None until the carrier speaks."""

    id: int
    order_id: int
    created_at: datetime
    updated_at: datetime
    name: str = "#1001.1"
    status: str = "success"
    shipment_status: str | None = None
    tracking_company: str | None = "UPS"
    tracking_number: str | None = "1Z0000000000000000"
    email: str | None = None
    destination: Address | None = None
    lines: tuple[Line, ...] = ()
    currency: str = "USD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The facts of an order; `dataclasses.replace` makes its later states, `order_body` renders any of them."""

    id: int
    number: int
    token: str
    created_at: datetime
    updated_at: datetime
    processed_at: datetime
    checkout_token: str | None = None
    cart_token: str | None = None
    customer: Customer | None = None
    customer_key: bool = True
    email: str | None = None
    phone: str | None = None
    billing_address: Address | None = None
    shipping_address: Address | None = None
    lines: tuple[Line, ...] = ()
    currency: str = "USD"
    presentment: tuple[str, str] | None = None
    source_name: str = "web"
    app_id: int | None = 580_111
    location_id: int | None = None
    user_id: int | None = None
    financial_status: str = "pending"
    fulfillment_status: str | None = None
    cancelled_at: datetime | None = None
    cancel_reason: str | None = None
    closed_at: datetime | None = None
    locale: str | None = "en-US"
    landing_site: str | None = "/products/linen-shirt?utm_source=news&utm_medium=email"
    tags: str = ""
    test: bool = False
    fulfillments: tuple[Fulfillment, ...] = field(default=())

    @property
    def total(self) -> str:
        """Sum of the lines; without decimals where a line has none (JPY)."""
        return str(sum((Decimal(line.price) * line.quantity for line in self.lines), Decimal(0)))


def new_order(ids: Ids, now: datetime, *, number: int = 1001, lines: int = 1, **facts: object) -> Order:
    """A web order placed one second before `now`, with any field of Order given by name."""
    moment = now - timedelta(seconds=1)
    defaults: dict[str, object] = {
        "id": ids.number(),
        "number": number,
        "token": ids.token(),
        "checkout_token": ids.token(),
        "cart_token": ids.token(),
        "created_at": moment,
        "updated_at": moment,
        "processed_at": moment,
        "lines": tuple(new_line(ids) for _ in range(lines)),
    }
    return Order(**{**defaults, **facts})  # type: ignore[arg-type]  # the fields are checked where they are declared


def new_line(ids: Ids, *, price: str = "49.90", quantity: int = 1, properties: object = None) -> Line:
    return Line(
        id=ids.number(),
        product_id=ids.number(),
        variant_id=ids.number(),
        price=price,
        quantity=quantity,
        properties=properties,
    )


def order_body(order: Order) -> Body:
    """The body of every orders/* topic but orders/edited and orders/delete."""
    body = {**_identity(order), **_state(order), **_money(order), **_contents(order)}
    if order.customer is not None:
        body["customer"] = order.customer.body(order.created_at, order.updated_at)
    elif order.customer_key:
        body["customer"] = None
    return body


def _identity(order: Order) -> Body:
    return {
        "id": order.id,
        "admin_graphql_api_id": gid("Order", order.id),
        "app_id": order.app_id,
        "browser_ip": "192.0.2.10" if order.source_name == "web" else None,
        "buyer_accepts_marketing": False,
        "cart_token": order.cart_token,
        "checkout_token": order.checkout_token,
        "client_details": _client(order),
        "confirmation_number": order.token[:9].upper(),
        "contact_email": order.email,
        "created_at": iso(order.created_at),
        "customer_locale": order.locale,
        "device_id": None,
        "email": order.email,
        "landing_site": order.landing_site,
        "landing_site_ref": None,
        "location_id": order.location_id,
        "merchant_business_entity_id": "MTU0ODM4MDAwOQ",
        "merchant_of_record_app_id": None,
        "name": f"#{order.number}",
        "note": None,
        "note_attributes": [],
        "number": order.number - 1000,
        "order_number": order.number,
        "order_status_url": f"https://shop.example.com/{SHOP_ID}/orders/{order.token}/authenticate?key={order.token[:8]}",
        "phone": order.phone,
        "po_number": None,
        "processed_at": iso(order.processed_at, EASTERN),
        "reference": None,
        "referring_site": "",
        "source_identifier": None,
        "source_name": order.source_name,
        "source_url": None,
        "tags": order.tags,
        "test": order.test,
        "token": order.token,
        "updated_at": iso(order.updated_at, EASTERN),
        "user_id": order.user_id,
    }


def _client(order: Order) -> Body | None:
    if order.source_name != "web":
        return None
    return {
        "accept_language": order.locale,
        "browser_height": None,
        "browser_ip": "192.0.2.10",
        "browser_width": None,
        "session_hash": None,
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64) ExampleBrowser/1.0",
    }


def _state(order: Order) -> Body:
    return {
        "cancel_reason": order.cancel_reason,
        "cancelled_at": iso(order.cancelled_at, EASTERN),
        "closed_at": iso(order.closed_at, EASTERN),
        "confirmed": True,
        "financial_status": order.financial_status,
        "fulfillment_status": order.fulfillment_status,
        "payment_gateway_names": ["bogus"],
        "payment_terms": None,
        "tax_exempt": False,
        "taxes_included": False,
        "estimated_taxes": False,
        "duties_included": False,
        "company": None,
    }


def _money(order: Order) -> Body:
    """Money as strings, each with its `_set`; taxes, discounts and shipping are zero in the shop's own precision."""
    total = order.total
    zero = str(Decimal(total) * 0)
    unpaid = total if order.financial_status == "pending" else zero
    sums = {"subtotal_price": total, "total_price": total, "total_line_items_price": total, "total_tax": zero}
    sums |= {"current_subtotal_price": total, "current_total_price": total, "current_total_tax": zero}
    sums |= {"total_discounts": zero, "current_total_discounts": zero}
    body: Body = {"currency": order.currency, "presentment_currency": (order.presentment or ("", order.currency))[1]}
    for name, amount in sums.items():
        body[name] = amount
        body[f"{name}_set"] = money_set(amount, order.currency, order.presentment if amount == total else None)
    for name in (
        "total_shipping_price_set",
        "current_shipping_price_set",
        "total_cash_rounding_payment_adjustment_set",
    ):
        body[name] = money_set(zero, order.currency)
    body |= {"total_outstanding": unpaid, "total_tip_received": zero, "total_weight": 400}
    for name in ("total_duties_set", "total_additional_fees_set"):
        body[f"original_{name}"] = body[f"current_{name}"] = None
    return body


def _contents(order: Order) -> Body:
    body: Body = {
        "discount_applications": [],
        "discount_codes": [],
        "fulfillments": [fulfillment_body(each) for each in order.fulfillments],
        "line_item_groups": [],
        "line_items": [line_body(line, order.currency) for line in order.lines],
        "refunds": [],
        "returns": [],
        "shipping_lines": [],
        "tax_lines": [],
    }
    if order.billing_address is not None:
        body["billing_address"] = order.billing_address.body()
    body["shipping_address"] = order.shipping_address.body() if order.shipping_address else None
    return body


def line_body(line: Line, currency: str) -> Body:
    return {
        "id": line.id,
        "admin_graphql_api_id": gid("LineItem", line.id),
        "attributed_staffs": [],
        "current_quantity": line.quantity,
        "fulfillable_quantity": line.quantity,
        "fulfillment_service": "manual",
        "fulfillment_status": None,
        "gift_card": False,
        "grams": 400,
        "name": f"{line.title} - {line.variant_title}" if line.variant_title else line.title,
        "price": line.price,
        "price_set": money_set(line.price, currency),
        "product_exists": True,
        "product_id": line.product_id,
        "properties": [] if line.properties is None else line.properties,
        "quantity": line.quantity,
        "requires_shipping": True,
        "sales_line_item_group_id": None,
        "sku": line.sku,
        "taxable": True,
        "title": line.title,
        "total_discount": "0.00",
        "total_discount_set": money_set("0.00", currency),
        "variant_id": line.variant_id,
        "variant_inventory_management": "shopify",
        "variant_title": line.variant_title,
        "vendor": "Example",
        "tax_lines": [],
        "duties": [],
        "discount_allocations": [],
    }


def new_fulfillment(
    ids: Ids, now: datetime, order: Order, *, destination: Address | None = None, shipment_status: str | None = None
) -> Fulfillment:
    """All lines of an order in one parcel, shipped a second before `now`."""
    moment = now - timedelta(seconds=1)
    return Fulfillment(
        id=ids.number(),
        order_id=order.id,
        created_at=moment,
        updated_at=moment,
        name=f"#{order.number}.1",
        shipment_status=shipment_status,
        email=order.email,
        destination=destination,
        lines=order.lines,
        currency=order.currency,
    )


def fulfillment_body(parcel: Fulfillment) -> Body:
    """fulfillments/create and fulfillments/update; a pick-up has no destination."""
    url = f"https://track.example.com/?num={parcel.tracking_number}&lang=en" if parcel.tracking_number else None
    return {
        "id": parcel.id,
        "order_id": parcel.order_id,
        "status": parcel.status,
        "created_at": iso(parcel.created_at),
        "service": "manual",
        "updated_at": iso(parcel.updated_at, EASTERN),
        "tracking_company": parcel.tracking_company,
        "shipment_status": parcel.shipment_status,
        "location_id": 655_441_491,
        "origin_address": None,
        "email": parcel.email,
        "destination": parcel.destination.body() if parcel.destination else None,
        "line_items": [line_body(line, parcel.currency) for line in parcel.lines],
        "tracking_number": parcel.tracking_number,
        "tracking_numbers": [parcel.tracking_number] if parcel.tracking_number else [],
        "tracking_url": url,
        "tracking_urls": [url] if url else [],
        "receipt": {},
        "name": parcel.name,
        "admin_graphql_api_id": gid("Fulfillment", parcel.id),
    }


def fulfillment_event_body(ids: Ids, now: datetime, parcel: Fulfillment, status: str = "out_for_delivery") -> Body:
    """A carrier's word on a parcel: no contact data at all, only ids to join on."""
    number = ids.number()
    moment = iso(now - timedelta(seconds=1), EASTERN)
    return {
        "id": number,
        "fulfillment_id": parcel.id,
        "status": status,
        "message": f"Parcel: {status.replace('_', ' ')}",
        "happened_at": moment,
        "city": None,
        "province": None,
        "country": "US",
        "zip": None,
        "address1": None,
        "latitude": None,
        "longitude": None,
        "shop_id": SHOP_ID,
        "created_at": moment,
        "updated_at": moment,
        "estimated_delivery_at": iso(now + timedelta(hours=3), EASTERN),
        "order_id": parcel.order_id,
        "admin_graphql_api_id": gid("FulfillmentEvent", number),
    }
