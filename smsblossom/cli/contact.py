"""`smsblossom contact`: people of a shop."""

import click

from smsblossom.bootstrap import Runtime
from smsblossom.cli import options, session, show
from smsblossom.domain.contacts import Phone, masked
from smsblossom.domain.ids import ContactId
from smsblossom.usecases import manage


@click.group()
def contact() -> None:
    """Add people to a shop."""


@contact.command()
@options.one_shop
@click.option("--phone", required=True, help="Their number, such as +12025550101; a local one is read as the shop's.")
@click.option(
    "--consent",
    type=click.Choice(["marketing"]),
    help="You vouch that this person asked for marketing texts; recorded with your name as its source.",
)
@options.as_json
def add(shop: str, phone: str, consent: str | None, *, as_json: bool) -> None:
    """Add a person by phone, or find the one who is there.

    Texts about a person's own orders need no consent here; everything that sells does.
    """

    async def body(runtime: Runtime) -> tuple[ContactId, Phone]:
        found = await manage.find_shop(runtime, shop)
        vouched = consent == "marketing"
        return await manage.add_contact(runtime, found, raw_phone=phone, marketing_consent=vouched, actor=session.ACTOR)

    contact_id, number = session.ask(body)
    if as_json:
        show.json({"shop": shop, "contact_id": contact_id, "phone": masked(number.e164), "marketing": bool(consent)})
    else:
        said = "with marketing consent" if consent else "without marketing consent"
        click.echo(f"{masked(number.e164)} is a contact of {shop}, {said} ({contact_id})")
