"""Apply what a provider reports: receipts move messages forward, inbound words change consent."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
import structlog

from smsblossom.bootstrap import Runtime
from smsblossom.domain import keywords
from smsblossom.domain import receipts as rules
from smsblossom.domain.consent import ConsentKind, ConsentState, OptInLevel
from smsblossom.domain.contacts import Phone, parse_phone
from smsblossom.domain.ids import SYSTEM, MessageId, ShopId, WebhookEventId
from smsblossom.domain.keywords import Keyword
from smsblossom.sms import callbacks
from smsblossom.sms.provider import Callback, Inbound, Receipt
from smsblossom.store import consent, contacts, inbound, inbox, messages, shops
from smsblossom.store.consent import ConsentEntry
from smsblossom.store.engine import Connection
from smsblossom.store.ids import new_id
from smsblossom.store.inbound import InboundMessage
from smsblossom.store.inbox import InboxState, WebhookEvent
from smsblossom.vault import Undecipherable

log = structlog.get_logger()


async def apply_receipts(runtime: Runtime, event_ids: Sequence[WebhookEventId]) -> None:
    """Apply stored delivery reports, each inbox row once."""
    for event_id in event_ids:
        row = await _load(runtime, event_id)
        if row is None:
            continue
        try:
            reports = callbacks.receipts(_open(runtime, row))
        except (callbacks.UnusableCallback, Undecipherable, msgspec.DecodeError) as error:
            await _end(runtime, row, InboxState.REJECTED, str(error))
            continue
        matched = [await _apply(runtime, row, receipt) for receipt in reports]
        reason = None if any(matched) else "no message of ours"
        await _end(runtime, row, InboxState.PROCESSED if any(matched) else InboxState.IGNORED, reason)


async def handle_inbound(runtime: Runtime, event_id: WebhookEventId) -> None:
    """Keep an inbound text with each shop it is for, and do what its word asks."""
    row = await _load(runtime, event_id)
    if row is None:
        return
    try:
        texts = callbacks.inbound(_open(runtime, row))
    except (callbacks.UnusableCallback, Undecipherable, msgspec.DecodeError) as error:
        await _end(runtime, row, InboxState.REJECTED, str(error))
        return
    heard = [await _hear(runtime, row, text) for text in texts]
    await _end(
        runtime,
        row,
        InboxState.PROCESSED if any(heard) else InboxState.IGNORED,
        None if any(heard) else "no shop of ours",
    )


async def _load(runtime: Runtime, event_id: WebhookEventId) -> WebhookEvent | None:
    async with runtime.store.transaction(SYSTEM) as connection:
        row = await inbox.load(connection, SYSTEM, event_id)
    return row if row is not None and row.state is InboxState.RECEIVED else None


def _open(runtime: Runtime, row: WebhookEvent) -> Callback:
    return msgspec.json.decode(runtime.vault.unpack(SYSTEM, row.body_sealed or b""), type=Callback)


async def _end(runtime: Runtime, row: WebhookEvent, state: InboxState, reason: str | None) -> None:
    """End the row. What was understood lies in its shop's rows now, so the raw callback is dropped."""
    now = runtime.now()
    async with runtime.store.transaction(SYSTEM) as connection:
        await inbox.settle(connection, SYSTEM, row.id, state, reason=reason, object_id=None, now=now)
        if state is InboxState.PROCESSED:
            await inbox.forget_body(connection, SYSTEM, row.id)
    runtime.metrics.events.labels(topic=row.topic, state=state).inc()


async def _apply(runtime: Runtime, row: WebhookEvent, receipt: Receipt) -> bool:
    """Move the message forward; False when the report is of no message of ours."""
    found = await _message_of(runtime, receipt)
    if found is None:
        runtime.metrics.receipts.labels(status=receipt.state, effect="unmatched").inc()
        return False
    shop_id, message_id = found
    now = runtime.now()
    async with runtime.store.transaction(shop_id) as connection:
        message = await messages.lock(connection, shop_id, message_id)
        if message is None:
            return False
        target = rules.advance(message.state, receipt.state)
        if target is not None:
            await messages.apply_receipt(connection, message, target, provider_id=receipt.provider_id, now=now)
        await messages.add_event(
            connection,
            shop_id,
            message_id,
            kind="receipt",
            state=target or message.state,
            code=receipt.code,
            happened_at=receipt.happened_at or row.received_at,
            now=now,
            request_id=message.request_id,
            raw_sealed=runtime.vault.encrypt(shop_id, msgspec.json.encode(receipt)),
        )
    effect = "moved" if target is not None else "kept"
    runtime.metrics.receipts.labels(status=receipt.state, effect=effect).inc()
    log.info(
        "receipt.applied",
        message_id=str(message_id),
        shop_id=str(shop_id),
        status=receipt.state,
        state=target or message.state,
        effect=effect,
        request_id=message.request_id,
    )
    return True


async def _message_of(runtime: Runtime, receipt: Receipt) -> tuple[ShopId, MessageId] | None:
    if receipt.reference is None:
        return None
    try:
        message_id = MessageId(UUID(receipt.reference))
    except ValueError:
        return None
    async with runtime.store.transaction() as connection:
        shops_of = await messages.shop_of_reference(connection, [str(message_id)])
    shop_id = shops_of.get(str(message_id))
    return None if shop_id is None else (shop_id, message_id)


async def _hear(runtime: Runtime, row: WebhookEvent, text: Inbound) -> bool:
    phone = parse_phone(text.sender if text.sender.startswith("+") else f"+{text.sender}", None)
    if not isinstance(phone, Phone):
        return False
    keyword = keywords.classify(text.text)
    shop_ids = await _shops_for(runtime, text.to, phone)
    for shop_id in shop_ids:
        await _hear_for(runtime, row, text, shop_id, phone, keyword)
    runtime.metrics.inbound.labels(keyword=keyword.value).inc()
    return bool(shop_ids)


async def _shops_for(runtime: Runtime, to: str, phone: Phone) -> list[ShopId]:
    """Whom this text is for: the shops of the number it was sent to, else those that know the sender's phone."""
    async with runtime.store.transaction() as connection:
        routed = await inbound.shops_of_number(connection, normalized_sender(to))
    if len(routed) == 1:
        return routed
    if not routed:
        async with runtime.store.sweeper() as connection:
            routed = [shop.id for shop in await shops.listing(connection)]
    return [shop_id for shop_id in routed if await _knows(runtime, shop_id, phone)]


async def _knows(runtime: Runtime, shop_id: ShopId, phone: Phone) -> bool:
    index = runtime.vault.blind_index(shop_id, phone.e164)
    async with runtime.store.transaction(shop_id) as connection:
        if await contacts.by_phone(connection, shop_id, index) is not None:
            return True
        return bool(await messages.listing(connection, shop_id, limit=1, phone_index=index))


async def _hear_for(
    runtime: Runtime, row: WebhookEvent, text: Inbound, shop_id: ShopId, phone: Phone, keyword: Keyword
) -> None:
    index = runtime.vault.blind_index(shop_id, phone.e164)
    async with runtime.store.transaction(shop_id) as connection:
        kept = await inbound.add(
            connection,
            shop_id,
            InboundMessage(
                id=new_id(),
                provider=runtime.provider.name,
                provider_id=text.provider_id or str(row.id),
                phone_sealed=runtime.vault.encrypt_text(shop_id, phone.e164),
                phone_index=index,
                body_sealed=runtime.vault.encrypt_text(shop_id, text.text),
                keyword=keyword.value,
                received_at=row.received_at,
                request_id=row.request_id,
            ),
        )
        if kept:
            await _obey(connection, shop_id, index, keyword, said_at=row.received_at, now=runtime.now())
    log.info("inbound.heard", shop_id=str(shop_id), keyword=keyword.value, repeated=not kept, request_id=row.request_id)


async def _obey(
    connection: Connection, shop_id: ShopId, index: bytes, keyword: Keyword, *, said_at: datetime, now: datetime
) -> None:
    """STOP ends every text of this shop to this number at once; START takes that back."""
    if keyword is Keyword.STOP:
        await consent.suppress(connection, shop_id, index, reason="keyword_stop", at=said_at)
        state = ConsentState.UNSUBSCRIBED
    elif keyword is Keyword.START:
        await consent.lift(connection, shop_id, index, at=said_at)
        state = ConsentState.SUBSCRIBED
    else:
        return
    contact_id = await contacts.by_phone(connection, shop_id, index)
    await consent.add(
        connection,
        shop_id,
        ConsentEntry(
            contact_id=contact_id,
            phone_index=index,
            kind=ConsentKind.MARKETING,
            state=state,
            level=OptInLevel.SINGLE if state is ConsentState.SUBSCRIBED else None,
            source=f"keyword_{keyword.value.lower()}",
            consented_at=said_at,
            recorded_at=now,
        ),
    )


def normalized_sender(sender: str) -> str:
    """A sender as `routes` keeps it: digits without a plus, names in lower case."""
    return sender.strip().removeprefix("+").lower()
