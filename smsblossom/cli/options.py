"""What the commands' options have in common: their words, their checks, and a valid example of each for errors."""

from datetime import datetime
from typing import Any, Final

import click

EXAMPLES: Final = {
    "consent": "--consent marketing",
    "country": "--country US",
    "currency": "--currency USD",
    "domain": "example.myshopify.com",
    "file": "--file order.json",
    "limit": "--limit 20",
    "name": "--name 'Example & Sons'",
    "phone": "--phone +12025550101",
    "older_than": "--older-than 1h",
    "port": "--port 8081",
    "queue_name": "events",
    "sender": "--sender Blossom",
    "shell": "bash",
    "shop": "--shop example.myshopify.com",
    "state": "--state delivered",
    "timezone": "--timezone America/New_York",
    "topic": "orders/create",
    "triggered_at": "--triggered-at 2026-11-22T10:00:00-05:00",
    "url": "--url http://127.0.0.1:8080",
    "verdict": "--verdict withhold",
    "webhook_id": "--id b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
}


def example_of(parameter: click.Parameter) -> str | None:
    return EXAMPLES.get(parameter.name or "")


class Moment(click.ParamType[datetime]):
    """An ISO 8601 date and time with its offset: a moment without one would mean another hour to each reader."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no ISO 8601 time", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} has no offset from UTC", param, ctx)
        return moment


class ShopDomain(click.ParamType[str]):
    """A myshopify domain, lower-cased."""

    name = "domain"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from smsblossom.domain.ids import is_shop_domain

        if not is_shop_domain(str(value)):
            self.fail(f"{value!r} is no myshopify domain", param, ctx)
        return str(value).lower()


class PhoneNumber(click.ParamType[str]):
    """A phone in international form; the example says which."""

    name = "phone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from smsblossom.domain.contacts import PhoneProblem, parse_phone

        phone = parse_phone(str(value), None)
        if isinstance(phone, PhoneProblem):
            self.fail(f"cannot be texted ({phone.reason.value.replace('_', ' ')})", param, ctx)
        return phone.e164


SHOP = ShopDomain()
PHONE = PhoneNumber()
MOMENT = Moment()

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
one_shop = click.option("--shop", type=SHOP, required=True, metavar="DOMAIN", help="The shop's myshopify domain.")
any_shop = click.option("--shop", type=SHOP, metavar="DOMAIN", help="Only this shop; all shops otherwise.")
by_phone = click.option("--phone", type=PHONE, help="Only this number, such as +12025550101.")
limit = click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most so many rows."
)
show_text = click.option(
    "--show-text",
    is_flag=True,
    help="Show what the texts say. They may hold names: left out otherwise, so that a screen or a saved file has none.",
)
