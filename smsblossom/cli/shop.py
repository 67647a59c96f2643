"""`smsblossom shop`: connect, list, show, pause and resume shops."""

from typing import Any

import click
import msgspec

from smsblossom.cli import options, session, show
from smsblossom.store import automations
from smsblossom.store.shops import Shop, ShopStatus
from smsblossom.usecases import manage
from smsblossom.usecases.manage import NewShop


@click.group()
def shop() -> None:
    """Connect, list, show, pause and resume shops."""


@shop.command()
@click.argument("domain", type=options.SHOP)
@click.option("--timezone", required=True, metavar="ZONE", help="IANA zone, such as America/New_York.")
@click.option("--country", required=True, metavar="CC", help="ISO 3166 code, such as US: how local phones are read.")
@click.option("--sender", help="Whom texts come from: 3-11 letters and digits, or a number. MITTO_SENDER otherwise.")
@click.option("--name", help="What texts call the shop; its domain otherwise.")
@click.option("--currency", metavar="CODE", help="ISO 4217 code, such as USD.")
@options.as_json
def add(
    domain: str,
    timezone: str,
    country: str,
    sender: str | None,
    name: str | None,
    currency: str | None,
    *,
    as_json: bool,
) -> None:
    """Connect a shop, or connect it again with these settings.

    A new shop is given the default automations; order confirmation, payment and shipping texts are on, the
    promotional ones off.

    \b
    smsblossom shop add example.myshopify.com --timezone America/New_York --country US --sender Blossom
    """  # noqa: D301  click's mark of a paragraph that it must not wrap
    new = NewShop(domain=domain, timezone=timezone, country=country, sender=sender, name=name, currency=currency)
    added, is_new = session.ask(lambda runtime: manage.add_shop(runtime, new, actor=session.ACTOR))
    if as_json:
        show.json({**_plain(added), "is_new": is_new})
    else:
        click.echo(
            f"{added.domain} is {'connected' if is_new else 'connected again'}; next: smsblossom shop show {domain}"
        )


@shop.command(name="list")
@options.as_json
def listing(*, as_json: bool) -> None:
    """All shops."""
    found = session.ask(manage.list_shops)
    if as_json:
        show.json([_plain(each) for each in found])
        return
    lines = [
        (each.domain, each.status.value, each.name or "", each.country, each.timezone, each.sender or "")
        for each in found
    ]
    empty = "no shops yet; add one with: smsblossom shop add example.myshopify.com --timezone ZONE --country CC"
    show.rows(("shop", "status", "name", "country", "time zone", "sender"), lines, empty=empty)


@shop.command(name="show")
@click.argument("domain", type=options.SHOP)
@options.as_json
def show_one(domain: str, *, as_json: bool) -> None:
    """One shop, with its settings and automations."""

    async def body(runtime: Any) -> tuple[Shop, list[dict[str, Any]]]:
        found = await manage.find_shop(runtime, domain)
        async with runtime.store.transaction(found.id) as connection:
            known = await automations.listing(connection, found.id)
        return found, [
            {"key": each.key, "enabled": on, "trigger": each.trigger.value, "class": each.message_class.value}
            for _, on, each in known
        ]

    found, known = session.ask(body)
    if as_json:
        show.json({**_plain(found), "automations": known})
        return
    show.facts([(name.replace("_", " "), str(value)) for name, value in _plain(found).items() if value is not None])
    click.echo()
    lines = [(each["key"], "on" if each["enabled"] else "off", each["trigger"], each["class"]) for each in known]
    show.rows(("automation", "state", "trigger", "class"), lines, empty="no automations")


@shop.command()
@click.argument("domain", type=options.SHOP)
@options.as_json
def pause(domain: str, *, as_json: bool) -> None:
    """Withhold all texts of a shop until it is resumed. Its webhooks are received and kept all the while."""
    _set(domain, ShopStatus.PAUSED, as_json=as_json)


@shop.command()
@click.argument("domain", type=options.SHOP)
@options.as_json
def resume(domain: str, *, as_json: bool) -> None:
    """Let a paused shop send again. What was withheld meanwhile stays withheld."""
    _set(domain, ShopStatus.ACTIVE, as_json=as_json)


def _set(domain: str, status: ShopStatus, *, as_json: bool) -> None:
    session.ask(lambda runtime: manage.set_shop_status(runtime, domain, status, actor=session.ACTOR))
    if as_json:
        show.json({"domain": domain, "status": status})
    else:
        click.echo(f"{domain} is {status}")


def _plain(found: Shop) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(found)
    return plain
