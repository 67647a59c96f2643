"""`smsblossom decisions`: why texts were sent, held or withheld."""

from typing import Any

import click

from smsblossom.bootstrap import Runtime
from smsblossom.cli import options, session, show
from smsblossom.domain.contacts import masked
from smsblossom.domain.ids import ShopId
from smsblossom.store import automations, trail
from smsblossom.store import decisions as kept
from smsblossom.store.decisions import DecisionRow
from smsblossom.store.shops import Shop

_COLUMNS = ("decided (recipient's clock)", "shop", "contact", "automation", "about", "decision", "why", "warnings")


@click.command()
@options.any_shop
@click.option("--verdict", type=click.Choice(["send", "hold", "withhold"]), help="Only decisions of this kind.")
@options.by_phone
@options.limit
@options.as_json
def decisions(shop: str | None, verdict: str | None, phone: str | None, limit: int, *, as_json: bool) -> None:
    """Why texts were sent, held or withheld, newest first.

    Times are on the recipient's own clock, by which quiet hours are judged; --json says where its zone was read
    from. Phones are masked; what a text says is shown by: smsblossom messages --show-text

    \b
    smsblossom decisions --verdict withhold
    smsblossom decisions --shop example.myshopify.com --phone +12025550101
    """  # noqa: D301  click's mark of a paragraph that it must not wrap
    found = session.ask(lambda runtime: _look(runtime, shop, verdict, phone, limit))
    if as_json:
        show.json(found)
    else:
        show.rows(_COLUMNS, [_line(row) for row in found], empty="no such decisions")


async def _look(
    runtime: Runtime, domain: str | None, verdict: str | None, phone: str | None, limit: int
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for shop_id, shop in (await session.shops_meant(runtime, domain)).items():
        index = runtime.vault.blind_index(shop_id, phone) if phone else None
        async with runtime.store.transaction(shop_id) as connection:
            rows = await kept.listing(connection, shop_id, limit=limit, phone_index=index, verdict=verdict)
            sealed = await trail.phones_of(connection, shop_id, [row.contact_id for row in rows if row.contact_id])
            names = {str(known): each.key for known, _, each in await automations.listing(connection, shop_id)}
        phones = {contact_id: _masked(runtime, shop_id, seal) for contact_id, seal in sealed.items()}
        found += [
            _row(row, shop, phones.get(row.contact_id) if row.contact_id else None, names.get(str(row.source_id)))
            for row in rows
        ]
    return sorted(found, key=lambda row: row["decided_at"], reverse=True)[:limit]


def _masked(runtime: Runtime, shop_id: ShopId, sealed: bytes) -> str:
    return masked(runtime.vault.decrypt_text(shop_id, sealed))


def _row(row: DecisionRow, shop: Shop, phone: str | None, automation: str | None) -> dict[str, Any]:
    return {
        "shop": shop.domain,
        "phone": phone,
        "automation": automation,
        "subject": row.subject,
        "verdict": row.verdict,
        "gate": row.gate,
        "reason": row.reason,
        "hold_until": row.hold_until,
        "warnings": row.warnings,
        "zone": row.zone or shop.timezone,
        "zone_basis": row.zone_basis,
        "local_time": row.local_time,
        "decided_at": row.decided_at,
        "rules_version": row.rules_version,
        "message_id": row.message_id,
        "webhook_event_id": row.webhook_event_id,
        "request_id": row.request_id,
    }


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    why = show.words(row["reason"])
    if row["hold_until"] is not None:
        why = f"{why}, until {show.local(row['hold_until'], row['zone'])}"
    return (
        show.local(row["decided_at"], row["zone"]),
        row["shop"],
        row["phone"] or "-",
        row["automation"] or "-",
        row["subject"],
        row["verdict"],
        why,
        ", ".join(show.words(warning) for warning in row["warnings"]),
    )
