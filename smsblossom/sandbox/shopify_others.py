"""Bodies of checkouts, customers, consent, shop and the three compliance topics."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from smsblossom.sandbox.shopify_shapes import EASTERN, SHOP_ID, Address, Body, Customer, Line, iso


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A checkout of API 2026-04: keyed by token, without an id.

    `shipping_address` None renders as `[]`, as real bodies have it before the buyer has typed one.
    """

    token: str
    cart_token: str
    created_at: datetime
    updated_at: datetime
    lines: tuple[Line, ...]
    customer: Customer | None = None
    email: str | None = None
    phone: str | None = None
    sms_marketing_phone: str | None = None
    buyer_accepts_sms_marketing: bool = False
    shipping_address: Address | None = None
    billing_address: Address | None = None
    currency: str = "USD"
    locale: str = "en-US"
    completed_at: datetime | None = None


def _checkout_constants() -> Body:
    return {
        "gateway": None,
        "buyer_accepts_marketing": False,
        "landing_site": "/",
        "note": "",
        "note_attributes": [],
        "referring_site": "",
        "shipping_lines": [],
        "taxes_included": False,
        "total_weight": 400,
        "closed_at": None,
        "user_id": None,
        "location_id": None,
        "source_identifier": None,
        "source_url": None,
        "device_id": None,
        "source": None,
        "discount_codes": [],
        "tax_lines": [],
        "source_name": "web",
        "total_discounts": "0.00",
        "total_tax": "0.00",
        "total_duties": None,
        "reservation_token": None,
    }


def checkout_body(checkout: Checkout) -> Body:
    """checkouts/create and checkouts/update; the `customer` key is absent for a guest."""
    total = str(sum((Decimal(line.price) * line.quantity for line in checkout.lines), Decimal(0)))
    body: Body = {
        **_checkout_constants(),
        "token": checkout.token,
        "cart_token": checkout.cart_token,
        "email": checkout.email,
        "buyer_accepts_sms_marketing": checkout.buyer_accepts_sms_marketing,
        "sms_marketing_phone": checkout.sms_marketing_phone,
        "created_at": iso(checkout.created_at),
        "updated_at": iso(checkout.updated_at, EASTERN),
        "currency": checkout.currency,
        "presentment_currency": checkout.currency,
        "completed_at": iso(checkout.completed_at),
        "phone": checkout.phone,
        "customer_locale": checkout.locale,
        "line_items": [_checkout_line(line) for line in checkout.lines],
        "name": f"#{int(checkout.token[:12], 16)}",
        "abandoned_checkout_url": (
            f"https://shop.example.com/{SHOP_ID}/checkouts/{checkout.token}/recover?key=example&locale={checkout.locale}"
        ),
        "total_line_items_price": total,
        "total_price": total,
        "subtotal_price": total,
        "shipping_address": checkout.shipping_address.body() if checkout.shipping_address else [],
    }
    if checkout.billing_address is not None:
        body["billing_address"] = checkout.billing_address.body()
    if checkout.customer is not None:
        body["customer"] = checkout.customer.body(checkout.created_at, checkout.updated_at)
    return body


def checkout_deleted_body(checkout: Checkout) -> Body:
    """checkouts/delete: money and tokens, no buyer."""
    body = checkout_body(checkout)
    kept = ["presentment_currency", "buyer_accepts_sms_marketing", "sms_marketing_phone", "total_discounts"]
    kept += ["total_line_items_price", "total_price", "total_tax", "subtotal_price", "cart_token", "total_duties"]
    return {"token": checkout.token} | {name: body[name] for name in kept} | {"reservation_token": None}


def _checkout_line(line: Line) -> Body:
    return {
        "key": f"{line.id:032x}",
        "applied_discounts": [],
        "discount_allocations": [],
        "destination_location_id": None,
        "fulfillment_service": "manual",
        "gift_card": False,
        "grams": 400,
        "origin_location_id": None,
        "presentment_title": line.title,
        "presentment_variant_title": line.variant_title,
        "product_id": line.product_id,
        "properties": line.properties,
        "quantity": line.quantity,
        "requires_shipping": True,
        "sku": line.sku,
        "tax_lines": [],
        "taxable": True,
        "title": line.title,
        "variant_id": line.variant_id,
        "variant_title": line.variant_title,
        "variant_price": line.price,
        "vendor": "Example",
        "user_id": None,
        "unit_price_measurement": dict.fromkeys(
            ("measured_type", "quantity_value", "quantity_unit", "reference_value", "reference_unit")
        ),
        "rank": None,
        "compare_at_price": None,
        "line_price": str(Decimal(line.price) * line.quantity),
        "price": line.price,
    }


def customer_body(customer: Customer, now: datetime, *, created_at: datetime | None = None) -> Body:
    """customers/create and customers/update since API 2025-01: no consent."""
    moment = now - timedelta(seconds=1)
    body = customer.body(created_at or moment, moment)
    body["addresses"] = [customer.default_address(customer.address)] if customer.address else []
    return body


def consent(
    state: str | None, at: datetime | None, *, level: str | None = "single_opt_in", source: str = "SHOPIFY"
) -> Body:
    """`state` is subscribed, unsubscribed, not_subscribed, pending, redacted or None."""
    return {
        "state": state,
        "opt_in_level": level,
        "consent_updated_at": iso(at, EASTERN),
        "consent_collected_from": source,
    }


def old_customer_body(customer: Customer, now: datetime, sms_consent: Body | None) -> Body:
    """customers/* before API 2025-01, which still carried consent, tags and totals."""
    return {
        **customer_body(customer, now),
        "accepts_marketing": False,
        "orders_count": 0,
        "total_spent": "0.00",
        "last_order_id": None,
        "last_order_name": None,
        "tags": "",
        "accepts_marketing_updated_at": iso(now, EASTERN),
        "marketing_opt_in_level": None,
        "email_marketing_consent": None,
        "sms_marketing_consent": sms_consent,
    }


def consent_update_body(customer: Customer, sms_consent: Body) -> Body:
    """customers_marketing_consent/update."""
    return {"id": customer.id, "phone": customer.phone, "sms_marketing_consent": sms_consent}


def _shop_constants() -> Body:
    return {
        "name": "Example & Sons",
        "email": "owner@example.com",
        "domain": "shop.example.com",
        "province": "New York",
        "country": "US",
        "address1": "1 Example St",
        "zip": "10001",
        "city": "New York",
        "source": None,
        "phone": "+12125550199",
        "latitude": 40.7128,
        "longitude": -74.006,
        "primary_locale": "en",
        "address2": None,
        "country_code": "US",
        "country_name": "United States",
        "currency": "USD",
        "customer_email": "care@example.com",
        "shop_owner": "Robin Sample",
        "money_format": "${{amount}}",
        "money_with_currency_format": "${{amount}} USD",
        "weight_unit": "kg",
        "province_code": "NY",
        "taxes_included": False,
        "tax_shipping": None,
        "auto_configure_tax_inclusivity": None,
        "county_taxes": True,
        "has_discounts": False,
        "has_gift_cards": False,
        "google_apps_domain": None,
        "google_apps_login_enabled": None,
        "money_in_emails_format": "${{amount}}",
        "money_with_currency_in_emails_format": "${{amount}} USD",
        "requires_extra_payments_agreement": False,
        "eligible_for_payments": True,
        "password_enabled": False,
        "has_storefront": True,
        "finances": True,
        "primary_location_id": 655_441_491,
        "checkout_api_supported": True,
        "multi_location_enabled": False,
        "setup_required": False,
        "pre_launch_enabled": False,
        "enabled_presentment_currencies": ["USD"],
        "marketing_sms_consent_enabled_at_checkout": True,
    }


def shop_body(
    domain: str, now: datetime, *, zone: str = "America/New_York", texts_by_shopify: bool = False, plan: str = "basic"
) -> Body:
    """app/uninstalled and shop/update; `texts_by_shopify` is what Shopify's own order texts are switched to."""
    return {
        **_shop_constants(),
        "id": SHOP_ID,
        "created_at": iso(now - timedelta(days=400), EASTERN),
        "updated_at": iso(now - timedelta(seconds=1), EASTERN),
        "timezone": "(GMT-05:00) Eastern Time (US & Canada)",
        "iana_timezone": zone,
        "plan_display_name": plan.title(),
        "plan_name": plan,
        "myshopify_domain": domain,
        "transactional_sms_disabled": not texts_by_shopify,
    }


def compliance_body(
    topic: Literal["customers/data_request", "customers/redact", "shop/redact"],
    domain: str,
    customer: Customer | None = None,
    order_ids: tuple[int, ...] = (),
) -> Body:
    """The three privacy topics; shop/redact names no customer."""
    body: Body = {"shop_id": SHOP_ID, "shop_domain": domain}
    if topic == "shop/redact" or customer is None:
        return body
    body["customer"] = {"id": customer.id, "email": customer.email, "phone": customer.phone}
    if topic == "customers/redact":
        return {**body, "orders_to_redact": list(order_ids)}
    return {**body, "orders_requested": list(order_ids), "data_request": {"id": customer.id // 3}}
