"""What happened in a shop, in our words. Made from webhook bodies by `smsblossom.shopify.payloads`."""

from datetime import datetime
from decimal import Decimal

import msgspec

from smsblossom.domain.consent import ConsentState, OptInLevel


class RawPhone(msgspec.Struct, frozen=True):
    """A phone as somebody typed it, with the country of the address it stood in."""

    raw: str
    region: str | None

    def __repr__(self) -> str:
        return "RawPhone(…)"


class Address(msgspec.Struct, frozen=True):
    country: str | None
    province: str | None
    zip: str | None


class Consent(msgspec.Struct, frozen=True):
    state: ConsentState
    level: OptInLevel | None
    consented_at: datetime | None


class Customer(msgspec.Struct, frozen=True):
    id: int | None
    email: str | None
    phone: RawPhone | None
    first_name: str | None
    last_name: str | None
    address: Address | None
    locale: str | None = None
    sms_consent: Consent | None = None
    updated_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Customer(id={self.id})"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order as one webhook showed it. `phones` are candidates for a text about it, best first."""

    id: int
    name: str | None
    customer: Customer | None
    email: str | None
    phones: tuple[RawPhone, ...]
    address: Address | None
    locale: str | None
    currency: str | None
    total: Decimal | None
    source_name: str | None
    checkout_token: str | None
    financial_status: str | None
    fulfillment_status: str | None
    is_test: bool
    processed_at: datetime | None
    created_at: datetime | None
    updated_at: datetime | None
    cancelled_at: datetime | None
    status_url: str | None

    def __repr__(self) -> str:
        return f"Order(id={self.id})"


class OrderChanged(msgspec.Struct, frozen=True):
    """Any topic that carries a whole order; the topic says which change it was."""

    order: Order


class FulfillmentChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A parcel moved. Its own phone may be missing; the order's is used then."""

    id: int
    order_id: int
    status: str
    name: str | None
    phones: tuple[RawPhone, ...]
    address: Address | None
    tracking_company: str | None
    tracking_url: str | None
    updated_at: datetime | None

    def __repr__(self) -> str:
        return f"FulfillmentChanged(id={self.id}, status={self.status!r})"


class ShipmentEvent(msgspec.Struct, frozen=True):
    """`fulfillment_events/create`: a carrier's scan. Carries no contact; always joined to its order."""

    id: int
    fulfillment_id: int
    order_id: int
    status: str
    happened_at: datetime | None


class CustomerChanged(msgspec.Struct, frozen=True):
    customer: Customer


class ConsentChanged(msgspec.Struct, frozen=True):
    customer_id: int
    phone: RawPhone | None
    consent: Consent | None


class CheckoutChanged(msgspec.Struct, frozen=True):
    token: str | None
    customer: Customer | None
    phones: tuple[RawPhone, ...]
    completed_at: datetime | None
    updated_at: datetime | None

    def __repr__(self) -> str:
        return "CheckoutChanged(…)"


class ShopChanged(msgspec.Struct, frozen=True, kw_only=True):
    name: str | None
    timezone: str | None
    country: str | None
    currency: str | None
    locale: str | None
    transactional_sms_disabled: bool | None
    updated_at: datetime | None


class AppUninstalled(msgspec.Struct, frozen=True):
    shop_domain: str | None


Event = (
    OrderChanged
    | FulfillmentChanged
    | ShipmentEvent
    | CustomerChanged
    | ConsentChanged
    | CheckoutChanged
    | ShopChanged
    | AppUninstalled
)
