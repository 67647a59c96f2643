"""`smsblossom audit`: who did what."""

from datetime import datetime
from typing import Any

import click
import msgspec

from smsblossom.bootstrap import Runtime
from smsblossom.cli import options, session, show
from smsblossom.domain.ids import ShopId
from smsblossom.store.audit import AuditEntry, Tally
from smsblossom.usecases import audit as auditing
from smsblossom.usecases import manage

_since = click.option("--since", type=options.MOMENT, metavar="TIME", help="From this moment on.")
_until = click.option("--until", type=options.MOMENT, metavar="TIME", help="Before this moment.")


@click.group()
def audit() -> None:
    """Who did what: the append-only audit log."""


@audit.command()
@_since
@_until
@options.any_shop
@options.as_json
def report(since: datetime | None, until: datetime | None, shop: str | None, *, as_json: bool) -> None:
    """How often each actor did what, most frequent first."""

    async def body(runtime: Runtime) -> list[Tally]:
        return await auditing.report(runtime, since=since, until=until, shop_id=await _shop(runtime, shop))

    found = session.ask(body)
    if as_json:
        show.json(found)
        return
    lines = [
        (tally.action, tally.actor, str(tally.count), _utc(tally.first_at), _utc(tally.last_at)) for tally in found
    ]
    show.rows(("action", "actor", "count", "first (UTC)", "last (UTC)"), lines, empty="nothing in this span")


@audit.command(name="list")
@click.option("--action", help="Only this action, such as shop.added.")
@click.option("--actor", help="Only what this actor did.")
@_since
@_until
@options.any_shop
@options.limit
@options.as_json
def listing(
    action: str | None,
    actor: str | None,
    since: datetime | None,
    until: datetime | None,
    shop: str | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """Audit rows, newest first."""

    async def body(runtime: Runtime) -> list[AuditEntry]:
        shop_id = await _shop(runtime, shop)
        return await auditing.listing(
            runtime, limit=limit, shop_id=shop_id, actor=actor, action=action, since=since, until=until
        )

    found = session.ask(body)
    if as_json:
        show.json(found)
        return
    lines = [
        (_utc(entry.at), entry.actor, entry.action, entry.entity or "", _details(entry.details)) for entry in found
    ]
    show.rows(("time (UTC)", "actor", "action", "entity", "details"), lines, empty="nothing in this span")


async def _shop(runtime: Runtime, domain: str | None) -> ShopId | None:
    return None if domain is None else (await manage.find_shop(runtime, domain)).id


def _details(details: dict[str, Any]) -> str:
    return msgspec.json.encode(details).decode() if details else ""


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
