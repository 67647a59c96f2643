"""What the demo posts: one webhook per thing worth seeing, with what must come of each.

Pure: the moment, the shop and the source of ids are handed in.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from smsblossom.sandbox import phones, shopify
from smsblossom.sandbox.shopify import Delivery, Sample
from smsblossom.sandbox.shopify_catalogue import web_order
from smsblossom.sandbox.shopify_orders import Order, fulfillment_body, new_fulfillment, new_line, new_order, order_body
from smsblossom.sandbox.shopify_shapes import Address, Customer, Ids, encode

Outcomes = frozenset[str]

SEND: Final[Outcomes] = frozenset({"send"})
BY_THE_HOUR: Final[Outcomes] = frozenset({"send", "quiet_hours"})
"""It leaves, or waits for the recipient's morning: which of the two depends on the hour of the run."""
CONSENTING: Final = phones.plain(2)
NOT_CONSENTING: Final = phones.plain(3)
STOPPER: Final = phones.magic(6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One webhook to post. `expected` names, by automation, the outcomes that are right: send, or a reason."""

    label: str
    delivery: Delivery
    phone: str | None
    expected: dict[str, Outcomes]
    is_forged: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`after_stop` is posted when the first have been answered and the STOP of one person was heard."""

    first: tuple[Planned, ...]
    after_stop: tuple[Planned, ...]

    @property
    def all(self) -> tuple[Planned, ...]:
        return self.first + self.after_stop


def make_plan(shop: str, now: datetime, seed: int) -> Plan:
    """Fresh ids for every seed: a second run on the same data is a second run of orders."""
    build = _Builder(shop, now, Ids(seed))
    first = (*build.orders(), *build.payments(), *build.parcels(), *build.faults(), build.forged())
    again = replace(first[0].delivery, webhook_id=build.ids.uuid())
    after = (
        replace(first[0], label="same order, another webhook", delivery=again, expected=_created({"duplicate"})),
        build.order("order of who said STOP", STOPPER, {"opted_out"}),
    )
    return Plan(first, after)


def _created(outcomes: set[str] | Outcomes) -> dict[str, Outcomes]:
    return {"order_created": frozenset(outcomes)}


class _Builder:
    """Builds webhooks of one shop, each order with a number of its own."""

    def __init__(self, shop: str, now: datetime, ids: Ids) -> None:
        self.shop, self.now, self.ids = shop, now, ids
        self._number = 1000

    def orders(self) -> Iterator[Planned]:
        yield self.order("web order", phones.plain(0))
        yield self._posted("guest order", self._guest(phones.plain(1)), phones.plain(1))
        yield self._posted("order in yen", self._yen(phones.plain(4)), phones.plain(4))
        yield self._posted("unicode name", self._unicode(phones.german(20)), phones.german(20))
        yield self.order("order without a phone", None, {"no_phone"})
        unusable = replace(self._web(None), shipping_address=Address(phone=phones.UNUSABLE_LOCAL))
        yield self._posted("phone with letters", unusable, None, {"number_letters"})
        till = replace(self._web(phones.plain(5)), source_name="pos")
        yield self._posted("order at the till (POS)", till, phones.plain(5), {"pos_order"})
        yield self._posted("test order", replace(self._web(phones.plain(6)), test=True), phones.plain(6))
        yield self._posted("old order, imported", self._old(phones.plain(7)), phones.plain(7), {"too_late"})

    def payments(self) -> Iterator[Planned]:
        """Each payment wakes two automations: the receipt, and an offer that needs marketing consent."""
        for label, phone, offer in (
            ("paid, consenting", CONSENTING, BY_THE_HOUR),
            ("paid, no consent", NOT_CONSENTING, frozenset({"no_marketing_consent"})),
        ):
            paid = replace(self._web(phone), financial_status="paid")
            expected = {"order_paid": SEND, "thank_you_offer": offer}
            yield self._planned(label, Sample(label, "orders/paid", encode(order_body(paid))), phone, expected)

    def parcels(self) -> Iterator[Planned]:
        """Three corners of the world: at every hour somebody is awake and somebody asleep."""
        washington, sydney = (
            Address(),
            Address(
                city="Sydney",
                zip="2000",
                province="New South Wales",
                province_code="NSW",
                country="Australia",
                country_code="AU",
            ),
        )
        berlin = Address(
            city="Berlin", zip="10115", province=None, province_code=None, country="Germany", country_code="DE"
        )
        for place, address, phone in (
            ("Washington", washington, phones.plain(8)),
            ("Berlin", berlin, phones.german(21)),
            ("Sydney", sydney, phones.australian(1)),
        ):
            order = self._web(phone)
            parcel = new_fulfillment(self.ids, self.now, order, destination=replace(address, phone=phone))
            body = encode(fulfillment_body(replace(parcel, shipment_status="out_for_delivery")))
            label = f"parcel in {place}"
            expected = {"fulfillment_update": BY_THE_HOUR}
            yield self._planned(label, Sample(label, "fulfillments/update", body), phone, expected)

    def faults(self) -> Iterator[Planned]:
        """The fake Mitto's magic endings: what a provider may do to a text."""
        for ending, label in (
            (2, "provider: number refused"),
            (3, "provider: never answers"),
            (4, "provider: busy twice"),
            (5, "provider: late report"),
            (6, "person answers STOP"),
            (7, "provider: 500, yet took it"),
            (8, "provider: 500, not taken"),
        ):
            yield self.order(label, phones.magic(ending))

    def forged(self) -> Planned:
        planned = self.order("forged signature", phones.plain(9))
        return replace(planned, is_forged=True, expected={})

    def order(self, label: str, phone: str | None, outcomes: set[str] | Outcomes = SEND) -> Planned:
        return self._posted(label, self._web(phone), phone, outcomes)

    def _posted(self, label: str, order: Order, phone: str | None, outcomes: set[str] | Outcomes = SEND) -> Planned:
        sample = Sample(label, "orders/create", encode(order_body(order)))
        return self._planned(label, sample, phone, _created(outcomes))

    def _planned(self, label: str, sample: Sample, phone: str | None, expected: dict[str, Outcomes]) -> Planned:
        delivery = shopify.delivery_of(sample, self.ids, shop=self.shop, triggered_at=self.now)
        return Planned(label=label, delivery=delivery, phone=phone, expected=expected)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _web(self, phone: str | None) -> Order:
        return web_order(self.ids, self.now, phone, number=self._next())

    def _guest(self, phone: str) -> Order:
        address = Address(first_name="Kim", last_name="Guest", phone=phone)
        return new_order(
            self.ids,
            self.now,
            number=self._next(),
            email="kim@example.com",
            shipping_address=address,
            customer_key=False,
        )

    def _yen(self, phone: str) -> Order:
        line = new_line(self.ids, price="14319")
        return replace(self._web(phone), currency="JPY", lines=(line,), locale="ja-JP")

    def _unicode(self, phone: str) -> Order:
        address = Address(
            first_name="Ζωή", last_name="Ñúñez", city="Αθήνα", zip="105 57", province=None, province_code=None,
            country="Greece", country_code="GR", phone=phone,
        )  # fmt: skip
        customer = Customer(
            id=self.ids.number(), first_name="Ζωή", last_name="Ñúñez", email="zoe@example.com", phone=phone,
            address=address,
        )  # fmt: skip
        order = replace(self._web(phone), customer=customer, email="zoe@example.com", locale="el-GR")
        return replace(order, shipping_address=address, billing_address=address)

    def _old(self, phone: str) -> Order:
        order = self._web(phone)
        return replace(order, processed_at=order.processed_at.replace(year=order.processed_at.year - 1, day=1))
