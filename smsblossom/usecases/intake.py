"""Turn an inbox row into what it means: contacts, orders, consent, and runs of automations.

One transaction a row: what the event changed, the runs it started and the row's end commit together, so a lost job or
a killed worker repeats all of it or none.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import structlog

from smsblossom import jobs
from smsblossom.bootstrap import Runtime
from smsblossom.domain.consent import ConsentKind
from smsblossom.domain.contacts import Phone, parse_phone
from smsblossom.domain.events import Address, Consent, Customer, Order, RawPhone
from smsblossom.domain.ids import ContactId, ShopId, WebhookEventId
from smsblossom.domain.occasions import Occasion, OrderBasis, basis_of
from smsblossom.queue.client import Add
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.shopify import payloads
from smsblossom.store import automations, consent, contacts, inbox, orders, shops
from smsblossom.store.consent import ConsentEntry
from smsblossom.store.contacts import ContactFacts
from smsblossom.store.engine import Connection
from smsblossom.store.inbox import InboxState, WebhookEvent
from smsblossom.store.orders import OrderFacts
from smsblossom.store.shops import Shop
from smsblossom.vault import Undecipherable

log = structlog.get_logger()


class Settled(msgspec.Struct, frozen=True):
    """How an inbox row ends, and whose automations it woke."""

    state: InboxState
    reason: str | None = None
    object_id: str | None = None
    triggered: tuple[tuple[ContactId | None, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Intake:
    """What a topic's processor works with: one row, its shop, one open transaction."""

    runtime: Runtime
    connection: Connection
    shop: Shop
    row: WebhookEvent
    now: datetime

    @property
    def triggered_at(self) -> datetime:
        """When Shopify says it happened; a clock of theirs that runs ahead of ours is not believed."""
        return min(self.row.triggered_at or self.row.received_at, self.row.received_at)


Handler = Callable[[Intake, Any], Awaitable[Settled]]


async def process(runtime: Runtime, shop_id: ShopId, event_id: WebhookEventId, handlers: dict[str, Handler]) -> None:
    """Process one inbox row, once: a row that is not `received` any more is left alone."""
    now = runtime.now()
    async with runtime.store.transaction(shop_id) as connection:
        row = await inbox.load(connection, shop_id, event_id)
        if row is None or row.state is not InboxState.RECEIVED:
            return
        settled = await _settle(runtime, connection, row, handlers, now)
        await inbox.settle(
            connection,
            shop_id,
            event_id,
            settled.state,
            reason=settled.reason,
            object_id=settled.object_id,
            now=now,
        )
    runtime.metrics.events.labels(topic=_label(row.topic, handlers), state=settled.state).inc()
    log.info(
        "event.settled",
        event_id=str(event_id),
        shop_id=str(shop_id),
        topic=row.topic,
        state=settled.state,
        reason=settled.reason,
        object_id=settled.object_id,
    )
    await enqueue_evaluations(runtime, row, settled)


async def _settle(
    runtime: Runtime, connection: Connection, row: WebhookEvent, handlers: dict[str, Handler], now: datetime
) -> Settled:
    try:
        body = runtime.vault.unpack(row.shop_id, row.body_sealed or b"")
        if row.topic in payloads.COMPLIANCE_TOPICS:
            return _owe(row, body)
        event = payloads.parse(row.topic, body)
    except payloads.UnusableBody as unusable:
        return Settled(InboxState.REJECTED, str(unusable))
    except Undecipherable as error:
        return Settled(InboxState.REJECTED, str(error))
    if event is None or row.topic not in handlers:
        return Settled(InboxState.IGNORED, "topic is not used")
    shop = await shops.get(connection, row.shop_id)
    if shop is None:
        return Settled(InboxState.IGNORED, "unknown shop", payloads.object_id(event))
    intake = Intake(runtime, connection, shop, row, now)
    settled = await handlers[row.topic](intake, event)
    return msgspec.structs.replace(settled, object_id=payloads.object_id(event))


def _owe(row: WebhookEvent, body: bytes) -> Settled:
    """A compliance duty is owed until it is done, unless its body is for somebody else."""
    named = payloads.compliance_shop(body)
    if named is not None and named.lower() != row.shop_domain.lower():
        return Settled(InboxState.REJECTED, "the body names another shop than the header")
    return Settled(InboxState.OWED, "compliance duty")


def _label(topic: str, handlers: dict[str, Handler]) -> str:
    """Topics come from outside: only known ones become a metric's label."""
    return topic if topic in handlers or topic in payloads.COMPLIANCE_TOPICS else "other"


async def enqueue_evaluations(runtime: Runtime, row: WebhookEvent, settled: Settled) -> None:
    """Wake the automations queue. When Redis is gone the runs wait in their rows for the sweeper."""
    adds = [
        evaluation(row.shop_id, contact_id, trigger, row.id, row.request_id, now=runtime.now())
        for contact_id, trigger in settled.triggered
    ]
    if not adds:
        return
    try:
        await runtime.queue.add_many(adds)
    except QueueUnavailable:
        log.warning("runs.queue_unavailable", runs=len(adds))


def evaluation(
    shop_id: ShopId,
    contact_id: ContactId | None,
    trigger: str,
    context: WebhookEventId,
    request_id: str,
    *,
    now: datetime,
) -> Add:
    job = jobs.EvaluateAutomations(
        shop_id=shop_id,
        request_id=request_id,
        created_at=now,
        contact_id=contact_id,
        trigger=trigger,
        context=context,
    )
    return Add(job=job, job_id=f"runs:{context}")


async def record_order(intake: Intake, order: Order, *, paid: bool = False) -> ContactId | None:
    """Bring the contact and the order up to date; who the order is about."""
    customer = order.customer or Customer(None, None, None, None, None, None)
    own = customer.phone if customer.id is not None else next(iter(order.phones), None)
    contact_id = await record_contact(
        intake,
        msgspec.structs.replace(
            customer, email=customer.email or order.email, phone=own, locale=customer.locale or order.locale
        ),
        address=order.address,
        source="order",
        updated_at=order.updated_at,
    )
    phone = _first_phone(order.phones, intake.shop.country)
    sealed, index = _seal_phone(intake, phone)
    details = msgspec.json.encode(basis_of(order))
    facts = OrderFacts(
        id=order.id,
        contact_id=contact_id,
        name=order.name,
        checkout_token=order.checkout_token,
        source_name=order.source_name,
        is_test=order.is_test,
        currency=order.currency,
        total=order.total,
        phone_sealed=sealed,
        phone_index=index,
        country=order.address.country if order.address else None,
        province=order.address.province if order.address else None,
        financial_status=order.financial_status,
        fulfillment_status=order.fulfillment_status,
        processed_at=order.processed_at,
        paid_at=intake.triggered_at if paid else None,
        cancelled_at=order.cancelled_at,
        shopify_updated_at=order.updated_at,
        details_sealed=intake.runtime.vault.encrypt(intake.shop.id, details),
    )
    await orders.upsert(intake.connection, intake.shop.id, facts, now=intake.now)
    return contact_id


async def record_contact(
    intake: Intake, customer: Customer, *, address: Address | None, source: str, updated_at: datetime | None
) -> ContactId | None:
    """Bring a person up to date, and their consent where an older body still carries it."""
    shop_id, vault = intake.shop.id, intake.runtime.vault
    phone = _first_phone((customer.phone,) if customer.phone else (), intake.shop.country)
    sealed, index = _seal_phone(intake, phone)
    email = customer.email.lower() if customer.email else None
    name = " ".join(filter(None, [customer.first_name, customer.last_name]))
    facts = ContactFacts(
        customer_id=customer.id,
        phone_sealed=sealed,
        phone_index=index,
        email_sealed=vault.encrypt_text(shop_id, email) if email else None,
        email_index=vault.blind_index(shop_id, email) if email else None,
        name_sealed=vault.encrypt_text(shop_id, name) if name else None,
        locale=customer.locale,
        country=address.country if address else None,
        province=address.province if address else None,
        source=source,
        shopify_updated_at=updated_at,
    )
    contact_id = await contacts.upsert(intake.connection, shop_id, facts, now=intake.now)
    if contact_id is not None and customer.sms_consent is not None:
        await record_consent(intake, contact_id, index, customer.sms_consent, said_at=customer.updated_at)
    return contact_id


async def record_consent(
    intake: Intake, contact_id: ContactId, phone_index: bytes | None, said: Consent, *, said_at: datetime | None
) -> None:
    """Append what Shopify says of marketing consent, by the time at which the person said it."""
    entry = ConsentEntry(
        contact_id=contact_id,
        phone_index=phone_index,
        kind=ConsentKind.MARKETING,
        state=said.state,
        level=said.level,
        source="shopify",
        consented_at=said.consented_at or said_at or intake.triggered_at,
        recorded_at=intake.now,
        webhook_event_id=intake.row.id,
    )
    await consent.add(intake.connection, intake.shop.id, entry)


async def order_basis(intake: Intake, order_id: int) -> tuple[ContactId | None, OrderBasis]:
    """What is known of an order that a later event only names."""
    sealed = await orders.details(intake.connection, intake.shop.id, order_id)
    if sealed is None:
        return None, OrderBasis()
    contact_id = await orders.contact_of(intake.connection, intake.shop.id, order_id)
    opened = intake.runtime.vault.decrypt(intake.shop.id, sealed)
    return contact_id, msgspec.json.decode(opened, type=OrderBasis)


async def start_runs(intake: Intake, occasion: Occasion, contact_id: ContactId | None) -> Settled:
    """Plan a run of every automation that waits for this occasion; they are judged after this transaction."""
    occasion = msgspec.structs.replace(
        occasion,
        phones=tuple(_with_region(phone, intake.shop.country) for phone in occasion.phones),
        own_phone=_with_region(occasion.own_phone, intake.shop.country) if occasion.own_phone else None,
    )
    planned = await automations.plan_runs(
        intake.connection,
        intake.shop.id,
        trigger=occasion.trigger,
        subject=occasion.subject,
        contact_id=contact_id,
        webhook_event_id=intake.row.id,
        request_id=intake.row.request_id,
        context_sealed=intake.runtime.vault.encrypt(intake.shop.id, msgspec.json.encode(occasion)),
        received_at=intake.row.received_at,
        now=intake.now,
    )
    if not planned:
        return Settled(InboxState.PROCESSED, "no automation waits for this")
    return Settled(InboxState.PROCESSED, triggered=((contact_id, occasion.trigger),))


def _with_region(phone: RawPhone, country: str) -> RawPhone:
    return RawPhone(phone.raw, phone.region or country)


def _first_phone(phones: tuple[RawPhone, ...], country: str) -> Phone | None:
    parsed = (parse_phone(phone.raw, phone.region or country) for phone in phones)
    return next((phone for phone in parsed if isinstance(phone, Phone)), None)


def _seal_phone(intake: Intake, phone: Phone | None) -> tuple[bytes | None, bytes | None]:
    if phone is None:
        return None, None
    vault, shop_id = intake.runtime.vault, intake.shop.id
    return vault.encrypt_text(shop_id, phone.e164), vault.blind_index(shop_id, phone.e164)


def phone_index(intake: Intake, phone: RawPhone | None) -> bytes | None:
    return _seal_phone(intake, _first_phone((phone,) if phone else (), intake.shop.country))[1]
