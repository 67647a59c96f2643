"""What an operator does: connect shops, add contacts, pause, stop everything, release."""

import tomllib
from datetime import datetime
from functools import lru_cache
from importlib import resources

import msgspec
import structlog

from smsblossom.bootstrap import Runtime
from smsblossom.domain import automations as automation_files
from smsblossom.domain import shop_settings, zones
from smsblossom.domain.automations import Automation
from smsblossom.domain.consent import ConsentKind, ConsentState, OptInLevel
from smsblossom.domain.contacts import Phone, PhoneProblem, parse_phone
from smsblossom.domain.ids import SYSTEM, ContactId, ShopId, is_shop_domain, shop_id_of
from smsblossom.store import audit, automations, consent, contacts, controls, inbound, shops
from smsblossom.store.consent import ConsentEntry
from smsblossom.store.contacts import ContactFacts
from smsblossom.store.engine import Connection
from smsblossom.store.shops import Shop, ShopStatus
from smsblossom.usecases.settle import normalized_sender

log = structlog.get_logger()


class Refused(Exception):  # noqa: N818
    """What was asked cannot be done. The message names the field and shows a valid example."""


class NotFound(Refused):
    """There is nothing of this name."""


class Conflict(Refused):
    """The state of things does not allow it."""


class NewShop(msgspec.Struct, frozen=True, kw_only=True):
    domain: str
    timezone: str
    country: str
    sender: str | None = None
    name: str | None = None
    currency: str | None = None
    locale: str | None = None
    settings: dict[str, object] = {}


@lru_cache(maxsize=1)
def default_automations() -> tuple[Automation, ...]:
    """The automation files that a new shop is seeded with."""
    folder = resources.files("smsblossom.usecases") / "defaults"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return tuple(automation_files.parse(tomllib.loads(file.read_text(encoding="utf-8"))) for file in files)


async def add_shop(runtime: Runtime, new: NewShop, *, actor: str) -> tuple[Shop, bool]:
    """Connect a shop, or connect it again; True when it was new. Its automations are seeded, the text ones on.

    Raises:
        Refused: naming the field.

    """
    now = runtime.now()
    shop = _checked(new, now)
    async with runtime.store.transaction(shop.id) as connection:
        is_new = await shops.add(connection, shop, now=now)
        await automations.seed(connection, shop.id, default_automations(), now=now)
        sender = shop.sender or runtime.settings.mitto_sender
        await inbound.route_number(connection, shop.id, normalized_sender(sender))
        await audit.add(connection, shop.id, actor=actor, action="shop.added", entity=shop.domain, now=now)
    return shop, is_new


async def set_shop_status(runtime: Runtime, domain: str, status: ShopStatus, *, actor: str) -> None:
    """Pause or resume a shop.

    Raises:
        Refused: no such shop.

    """
    shop_id, now = _shop_id(domain), runtime.now()
    async with runtime.store.transaction(shop_id) as connection:
        if not await shops.set_status(connection, shop_id, status, now=now):
            raise _no_shop(domain)
        await audit.add(connection, shop_id, actor=actor, action=f"shop.{status}", entity=domain, now=now)


async def find_shop(runtime: Runtime, domain: str) -> Shop:
    """The shop at this domain.

    Raises:
        Refused: no such shop.

    """
    shop_id = _shop_id(domain)
    async with runtime.store.transaction(shop_id) as connection:
        shop = await shops.get(connection, shop_id)
    if shop is None:
        raise _no_shop(domain)
    return shop


async def list_shops(runtime: Runtime) -> list[Shop]:
    async with runtime.store.sweeper() as connection:
        return await shops.listing(connection)


async def add_contact(
    runtime: Runtime, shop: Shop, *, raw_phone: str, marketing_consent: bool, actor: str
) -> tuple[ContactId, Phone]:
    """Add a person by phone, with marketing consent where the operator vouches for it.

    Raises:
        Refused: the phone cannot be texted.

    """
    now = runtime.now()
    phone = parse_phone(raw_phone, shop.country)
    if isinstance(phone, PhoneProblem):
        raise Refused(f"phone: {phone.reason.value.replace('_', ' ')}; for example +12025550101")
    index = runtime.vault.blind_index(shop.id, phone.e164)
    facts = ContactFacts(
        customer_id=None,
        phone_sealed=runtime.vault.encrypt_text(shop.id, phone.e164),
        phone_index=index,
        email_sealed=None,
        email_index=None,
        name_sealed=None,
        locale=None,
        country=phone.region,
        province=None,
        source="operator",
        shopify_updated_at=None,
    )
    async with runtime.store.transaction(shop.id) as connection:
        contact_id = await contacts.upsert(connection, shop.id, facts, now=now)
        assert contact_id is not None  # a phone identifies
        if marketing_consent:
            await _vouch(connection, shop.id, contact_id, index, actor=actor, now=now)
        await audit.add(connection, shop.id, actor=actor, action="contact.added", entity=str(contact_id), now=now)
    return contact_id, phone


async def set_automation(runtime: Runtime, shop: Shop, key: str, *, enabled: bool, actor: str) -> None:
    """Switch one of a shop's automations on or off.

    Raises:
        Refused: the shop has no automation of this key.

    """
    now = runtime.now()
    async with runtime.store.transaction(shop.id) as connection:
        if not await automations.set_enabled(connection, shop.id, key, enabled=enabled, now=now):
            raise Refused(f"automation: {shop.domain} has none with the key {key!r}; for example order_created")
        action = "automation.enabled" if enabled else "automation.disabled"
        await audit.add(connection, shop.id, actor=actor, action=action, entity=key, now=now)


async def stop_all(runtime: Runtime, *, actor: str) -> None:
    """Stop every send of every shop, until released. Texts decided meanwhile are withheld with the reason."""
    await _switch(runtime, {controls.STOP_ALL: "on"}, actor=actor, action="sending.stopped")


async def release(runtime: Runtime, *, actor: str) -> None:
    """Take back stop-all, and the hold that a start after a long silence put on."""
    switches = {controls.STOP_ALL: "off", controls.SENDING_HELD: "off"}
    await _switch(runtime, switches, actor=actor, action="sending.released")


async def sending_state(runtime: Runtime) -> dict[str, bool]:
    async with runtime.store.transaction(SYSTEM) as connection:
        return {name: await controls.is_on(connection, name) for name in (controls.STOP_ALL, controls.SENDING_HELD)}


async def _switch(runtime: Runtime, switches: dict[str, str], *, actor: str, action: str) -> None:
    now = runtime.now()
    async with runtime.store.transaction(SYSTEM) as connection:
        for name, value in switches.items():
            await controls.put(connection, name, value, by=actor, now=now)
        await audit.add(connection, SYSTEM, actor=actor, action=action, now=now)
    log.warning(action, actor=actor)


async def _vouch(
    connection: Connection, shop_id: ShopId, contact_id: ContactId, index: bytes, *, actor: str, now: datetime
) -> None:
    entry = ConsentEntry(
        contact_id=contact_id,
        phone_index=index,
        kind=ConsentKind.MARKETING,
        state=ConsentState.SUBSCRIBED,
        level=OptInLevel.SINGLE,
        source="operator",
        consented_at=now,
        recorded_at=now,
        actor=actor,
    )
    await consent.add(connection, shop_id, entry)


def _checked(new: NewShop, now: datetime) -> Shop:
    shop_id = _shop_id(new.domain)
    if not zones.is_zone(new.timezone):
        raise Refused(f"timezone: {new.timezone!r} is no time zone; for example --timezone America/New_York")
    if not (len(new.country) == 2 and new.country.isascii() and new.country.isalpha()):
        raise Refused(f"country: {new.country!r} is no ISO 3166 code; for example --country US")
    try:
        shop_settings.parse(dict(new.settings))
    except shop_settings.ShopSettingsError as error:
        raise Refused(f"settings: {error}") from error
    return Shop(
        id=shop_id,
        domain=new.domain.lower(),
        status=ShopStatus.ACTIVE,
        timezone=new.timezone,
        country=new.country.upper(),
        currency=new.currency,
        locale=new.locale,
        name=new.name,
        sender=_sender(new.sender),
        settings=dict(new.settings),
        transactional_sms_disabled=None,
        connected_at=now,
        uninstalled_at=None,
    )


def _sender(sender: str | None) -> str | None:
    """A sender as Mitto takes it: 3 to 11 letters and digits, or 3 to 14 digits (response code 6 otherwise)."""
    if sender is None:
        return None
    bare = sender.removeprefix("+")
    numeric = bare.isascii() and bare.isdigit() and 3 <= len(bare) <= 14
    named = bare.isascii() and bare.replace(" ", "").isalnum() and 3 <= len(bare) <= 11
    if not (numeric or named):
        raise Refused("sender: 3 to 11 letters and digits, or 3 to 14 digits; for example --sender Blossom")
    return bare


def _shop_id(domain: str) -> ShopId:
    if not is_shop_domain(domain):
        raise Refused(f"domain: {domain!r} is no myshopify domain; for example example.myshopify.com")
    return shop_id_of(domain)


def _no_shop(domain: str) -> Refused:
    return Refused(f"domain: no shop {domain}; add it with: smsblossom shop add {domain} --timezone Z --country CC")
