"""Webhook bodies into domain events.

Bodies are hostile until parsed: fields are nullable where real bodies were seen null, absent or of another type
(`shipping_address: []`, no `customer` key, free-text phones), ids are held to 64 bits, text loses NUL and lone
surrogates at this edge. What is not read is not declared.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from smsblossom.domain.consent import ConsentState, OptInLevel
from smsblossom.domain.events import (
    Address,
    AppUninstalled,
    CheckoutChanged,
    Consent,
    ConsentChanged,
    Customer,
    CustomerChanged,
    Event,
    FulfillmentChanged,
    Order,
    OrderChanged,
    RawPhone,
    ShipmentEvent,
    ShopChanged,
)

_Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
_W = TypeVar("_W", bound=Struct)
MAX_TEXT = 500


class UnusableBody(Exception):  # noqa: N818 - a state of the body
    """The body cannot become an event. The message names the field, never its value."""


class _Address(Struct):
    phone: Any = None
    country_code: Any = None
    province_code: Any = None
    zip: Any = None


class _SmsConsent(Struct):
    state: Any = None
    opt_in_level: Any = None
    consent_updated_at: Any = None


class _Customer(Struct):
    id: _Id | None = None
    email: Any = None
    phone: Any = None
    first_name: Any = None
    last_name: Any = None
    locale: Any = None
    default_address: _Address | list[Any] | None = None
    sms_marketing_consent: _SmsConsent | None = None
    created_at: Any = None
    updated_at: Any = None


class _Order(Struct):
    id: _Id
    name: Any = None
    email: Any = None
    contact_email: Any = None
    phone: Any = None
    customer: _Customer | None = None
    customer_locale: Any = None
    shipping_address: _Address | list[Any] | None = None
    billing_address: _Address | list[Any] | None = None
    currency: Any = None
    presentment_currency: Any = None
    total_price: Any = None
    source_name: Any = None
    checkout_token: Any = None
    financial_status: Any = None
    fulfillment_status: Any = None
    test: Any = None
    processed_at: Any = None
    created_at: Any = None
    updated_at: Any = None
    cancelled_at: Any = None
    order_status_url: Any = None


class _Fulfillment(Struct):
    id: _Id
    order_id: _Id
    name: Any = None
    status: Any = None
    shipment_status: Any = None
    destination: _Address | list[Any] | None = None
    tracking_company: Any = None
    tracking_url: Any = None
    tracking_urls: Any = None
    updated_at: Any = None


class _ShipmentEvent(Struct):
    id: _Id
    fulfillment_id: _Id
    order_id: _Id
    status: Any = None
    happened_at: Any = None


class _ConsentUpdate(Struct):
    id: _Id
    phone: Any = None
    sms_marketing_consent: _SmsConsent | None = None


class _Checkout(Struct):
    token: Any = None
    phone: Any = None
    sms_marketing_phone: Any = None
    buyer_accepts_sms_marketing: Any = None
    customer: _Customer | None = None
    shipping_address: _Address | list[Any] | None = None
    billing_address: _Address | list[Any] | None = None
    completed_at: Any = None
    updated_at: Any = None


class _Shop(Struct):
    name: Any = None
    myshopify_domain: Any = None
    iana_timezone: Any = None
    country_code: Any = None
    currency: Any = None
    primary_locale: Any = None
    transactional_sms_disabled: Any = None
    updated_at: Any = None


def parse(topic: str, body: bytes) -> Event | None:
    """The event in this body, or None for a topic that this service does not read.

    Raises:
        UnusableBody: it is no JSON, too deep, or not of the topic's shape; neither will change by trying again.

    """
    parser = _PARSERS.get(topic)
    return None if parser is None else parser(body)


def object_id(event: Event) -> str | None:
    """What the event is about, for the operator's eye and for logs."""
    match event:
        case OrderChanged(order):
            return f"order:{order.id}"
        case FulfillmentChanged():
            return f"fulfillment:{event.id}"
        case ShipmentEvent():
            return f"fulfillment:{event.fulfillment_id}"
        case CustomerChanged(customer):
            return f"customer:{customer.id}"
        case ConsentChanged():
            return f"customer:{event.customer_id}"
        case CheckoutChanged() | ShopChanged() | AppUninstalled():
            return None


def compliance_shop(body: bytes) -> str | None:
    """The shop that a compliance body names, for comparison with the one that its header names.

    Raises:
        UnusableBody: no JSON object.

    """

    class _Named(Struct):
        shop_domain: Any = None

    return _text(_decode(_Named, body).shop_domain)


def _decode(shape: type[_W], body: bytes) -> _W:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as exc:
        raise UnusableBody(f"not of the topic's shape: {_without_values(str(exc))}") from None
    except msgspec.DecodeError as exc:
        raise UnusableBody(f"not JSON: {_without_values(str(exc))}") from None
    except RecursionError:
        raise UnusableBody("nested too deep") from None
    except UnicodeError:
        raise UnusableBody("not JSON: not UTF-8") from None


def _without_values(message: str) -> str:
    """Msgspec names paths and types, and the input only where a number or string is out of bounds: cut there."""
    return message.split("'", maxsplit=1)[0].strip()[:200] if "Invalid" in message else message[:200]


def _order(body: bytes) -> OrderChanged:
    wire = _decode(_Order, body)
    customer = _customer(wire.customer)
    shipping, billing = _address(wire.shipping_address), _address(wire.billing_address)
    default = _address(wire.customer.default_address) if wire.customer else None
    return OrderChanged(
        Order(
            id=wire.id,
            name=_text(wire.name),
            customer=customer,
            email=_text(wire.email) or _text(wire.contact_email),
            phones=_phones(
                _region(shipping, billing, default),
                (wire.phone, None),
                (wire.customer.phone if wire.customer else None, default),
                _of(wire.shipping_address),
                _of(wire.billing_address),
                _of(wire.customer.default_address if wire.customer else None),
            ),
            address=shipping or billing or default,
            locale=_text(wire.customer_locale) or (customer.locale if customer else None),
            currency=_text(wire.presentment_currency) or _text(wire.currency),
            total=_money(wire.total_price),
            source_name=_text(wire.source_name),
            checkout_token=_text(wire.checkout_token),
            financial_status=_text(wire.financial_status),
            fulfillment_status=_text(wire.fulfillment_status),
            is_test=wire.test is True,
            processed_at=_when(wire.processed_at),
            created_at=_when(wire.created_at),
            updated_at=_when(wire.updated_at),
            cancelled_at=_when(wire.cancelled_at),
            status_url=_text(wire.order_status_url),
        )
    )


def _fulfillment(body: bytes) -> FulfillmentChanged:
    wire = _decode(_Fulfillment, body)
    address = _address(wire.destination)
    urls = wire.tracking_urls if isinstance(wire.tracking_urls, list) else []
    return FulfillmentChanged(
        id=wire.id,
        order_id=wire.order_id,
        status=_text(wire.shipment_status) or _text(wire.status) or "unknown",
        name=_text(wire.name),
        phones=_phones(None, _of(wire.destination)),
        address=address,
        tracking_company=_text(wire.tracking_company),
        tracking_url=_text(wire.tracking_url) or next(filter(None, map(_text, urls)), None),
        updated_at=_when(wire.updated_at),
    )


def _shipment_event(body: bytes) -> ShipmentEvent:
    wire = _decode(_ShipmentEvent, body)
    status = _text(wire.status) or "unknown"
    return ShipmentEvent(wire.id, wire.fulfillment_id, wire.order_id, status, _when(wire.happened_at))


def _customer_changed(body: bytes) -> CustomerChanged:
    customer = _customer(_decode(_Customer, body))
    if customer is None or customer.id is None:
        raise UnusableBody("not of the topic's shape: Object missing required field `id`")
    return CustomerChanged(customer)


def _consent_changed(body: bytes) -> ConsentChanged:
    wire = _decode(_ConsentUpdate, body)
    return ConsentChanged(wire.id, _phone(wire.phone, None), _consent(wire.sms_marketing_consent))


def _checkout(body: bytes) -> CheckoutChanged:
    wire = _decode(_Checkout, body)
    default = _address(wire.customer.default_address) if wire.customer else None
    shipping, billing = _address(wire.shipping_address), _address(wire.billing_address)
    marketing = wire.sms_marketing_phone if wire.buyer_accepts_sms_marketing is True else None
    phones = _phones(
        _region(shipping, billing, default),
        (marketing, None),
        (wire.phone, None),
        (wire.customer.phone if wire.customer else None, default),
        _of(wire.shipping_address),
        _of(wire.billing_address),
        _of(wire.customer.default_address if wire.customer else None),
    )
    token, customer = _text(wire.token), _customer(wire.customer)
    return CheckoutChanged(token, customer, phones, _when(wire.completed_at), _when(wire.updated_at))


def _shop(body: bytes) -> ShopChanged:
    wire = _decode(_Shop, body)
    disabled = wire.transactional_sms_disabled
    return ShopChanged(
        name=_text(wire.name),
        timezone=_text(wire.iana_timezone),
        country=_country(wire.country_code),
        currency=_text(wire.currency),
        locale=_text(wire.primary_locale),
        transactional_sms_disabled=disabled if isinstance(disabled, bool) else None,
        updated_at=_when(wire.updated_at),
    )


def _uninstalled(body: bytes) -> AppUninstalled:
    wire = _decode(_Shop, body)
    return AppUninstalled(_text(wire.myshopify_domain))


def _customer(wire: _Customer | None) -> Customer | None:
    if wire is None:
        return None
    address = _address(wire.default_address)
    return Customer(
        id=wire.id,
        email=_text(wire.email),
        phone=_phone(wire.phone, address.country if address else None),
        first_name=_text(wire.first_name),
        last_name=_text(wire.last_name),
        address=address,
        locale=_text(wire.locale),
        sms_consent=_consent(wire.sms_marketing_consent),
        updated_at=_when(wire.updated_at) or _when(wire.created_at),
    )


def _consent(wire: _SmsConsent | None) -> Consent | None:
    """States come in any case; one that Shopify may add later is not guessed at."""
    state = _text(wire.state) if wire else None
    if wire is None or state is None or state.lower() not in _CONSENT_STATES:
        return None
    level = (_text(wire.opt_in_level) or "").lower()
    known = OptInLevel(level) if level in _OPT_IN_LEVELS else None
    return Consent(ConsentState(state.lower()), known, _when(wire.consent_updated_at))


def _address(wire: _Address | list[Any] | None) -> Address | None:
    if not isinstance(wire, _Address):
        return None
    return Address(_country(wire.country_code), _text(wire.province_code), _text(wire.zip))


def _of(wire: _Address | list[Any] | None) -> tuple[object, Address | None]:
    return (wire.phone, _address(wire)) if isinstance(wire, _Address) else (None, None)


def _region(*addresses: Address | None) -> str | None:
    return next((address.country for address in addresses if address and address.country), None)


def _phones(region: str | None, *found: tuple[object, Address | None]) -> tuple[RawPhone, ...]:
    """Candidates, best first, each once; a phone without an address of its own takes the order's country."""
    phones = (_phone(raw, (address.country if address else None) or region) for raw, address in found)
    return tuple(dict.fromkeys(phone for phone in phones if phone is not None))


def _phone(raw: object, region: str | None) -> RawPhone | None:
    text = _text(raw)
    return None if text is None else RawPhone(text, region)


def _country(raw: object) -> str | None:
    text = _text(raw)
    return text.upper() if text and len(text) == 2 and text.isascii() and text.isalpha() else None


def _text(raw: object) -> str | None:
    """Text as PostgreSQL can keep it (no NUL, no lone surrogate), trimmed; None for nothing and for other types."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        raw = str(raw)
    if not isinstance(raw, str):
        return None
    clean = raw.replace("\x00", "").encode("utf-8", "replace").decode().strip()
    return clean[:MAX_TEXT] or None


def _money(raw: object) -> Decimal | None:
    if not isinstance(raw, (str, int, float)) or isinstance(raw, bool):
        return None
    try:
        amount = Decimal(str(raw))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and abs(amount) < Decimal(10) ** 15 else None


def _when(raw: object) -> datetime | None:
    if not isinstance(raw, str):
        return None
    try:
        moment = datetime.fromisoformat(raw)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC) if 1970 < moment.year < 9000 else None


parse_time: Final = _when
"""A timestamp as Shopify writes it in bodies and headers; None where it is none."""

_CONSENT_STATES: Final = frozenset(ConsentState)
_OPT_IN_LEVELS: Final = frozenset(OptInLevel)
_PARSERS: Final[dict[str, Callable[[bytes], Event]]] = {
    "orders/create": _order,
    "orders/paid": _order,
    "orders/updated": _order,
    "orders/cancelled": _order,
    "orders/fulfilled": _order,
    "orders/partially_fulfilled": _order,
    "fulfillments/create": _fulfillment,
    "fulfillments/update": _fulfillment,
    "fulfillment_events/create": _shipment_event,
    "checkouts/create": _checkout,
    "checkouts/update": _checkout,
    "customers/create": _customer_changed,
    "customers/update": _customer_changed,
    "customers_marketing_consent/update": _consent_changed,
    "app/uninstalled": _uninstalled,
    "shop/update": _shop,
}
COMPLIANCE_TOPICS: Final = frozenset({"customers/data_request", "customers/redact", "shop/redact"})
TOPICS: Final = frozenset(_PARSERS)
"""Topics whose bodies we can read."""
