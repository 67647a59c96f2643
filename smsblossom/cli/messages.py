"""`smsblossom messages`: the ledger, as an operator sees it."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from smsblossom.bootstrap import Runtime
from smsblossom.cli import options, session, show
from smsblossom.domain.contacts import masked
from smsblossom.domain.messages import MessageState
from smsblossom.store import messages as ledger
from smsblossom.store.messages import Message
from smsblossom.store.shops import Shop

_COLUMNS = ("planned (shop's clock)", "shop", "to", "about", "state", "why", "text")
_FOLLOW_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class _Asked:
    shop: str | None
    state: MessageState | None
    phone: str | None
    limit: int
    show_text: bool


@click.command()
@options.any_shop
@click.option("--state", type=click.Choice([state.value for state in MessageState]), help="Only texts in this state.")
@options.by_phone
@options.limit
@options.show_text
@click.option("--follow", is_flag=True, help="Stay, and print each text again when its state changes. Ctrl-C ends it.")
@options.as_json
def messages(
    shop: str | None,
    state: str | None,
    phone: str | None,
    limit: int,
    *,
    show_text: bool,
    follow: bool,
    as_json: bool,
) -> None:
    """The message ledger: every text and its state, newest first.

    Phones are masked. With --follow the oldest comes first, and --json prints one object a line.

    \b
    smsblossom messages --state unknown
    smsblossom messages --shop example.myshopify.com --phone +12025550101 --show-text
    """  # noqa: D301  click's mark of a paragraph that it must not wrap
    asked = _Asked(shop, MessageState(state) if state else None, phone, limit, show_text)
    if follow:
        session.ask(lambda runtime: _follow(runtime, asked, as_json=as_json))
        return
    found = session.ask(lambda runtime: _look(runtime, asked))
    if as_json:
        show.json(found)
    else:
        columns = _COLUMNS if show_text else _COLUMNS[:-1]
        show.rows(columns, [_line(row, show_text=show_text) for row in found], empty="no such messages")


async def _look(runtime: Runtime, asked: _Asked) -> list[dict[str, Any]]:
    """The newest rows over all shops that were asked about."""
    found: list[tuple[Message, Shop]] = []
    for shop_id, shop in (await session.shops_meant(runtime, asked.shop)).items():
        index = runtime.vault.blind_index(shop_id, asked.phone) if asked.phone else None
        async with runtime.store.transaction(shop_id) as connection:
            rows = await ledger.listing(connection, shop_id, limit=asked.limit, state=asked.state, phone_index=index)
        found += [(row, shop) for row in rows]
    found.sort(key=lambda pair: (pair[0].planned_at, pair[0].id), reverse=True)
    return [_row(runtime, row, shop, show_text=asked.show_text) for row, shop in found[: asked.limit]]


async def _follow(runtime: Runtime, asked: _Asked, *, as_json: bool) -> None:
    seen: dict[Any, Any] = {}
    while True:
        for row in reversed(await _look(runtime, asked)):
            if seen.get(row["id"]) != row["state"]:
                seen[row["id"]] = row["state"]
                if as_json:
                    show.json_line(row)
                else:
                    click.echo("  ".join(cell for cell in _line(row, show_text=asked.show_text) if cell))
        await asyncio.sleep(_FOLLOW_EVERY_S)


def _row(runtime: Runtime, row: Message, shop: Shop, *, show_text: bool) -> dict[str, Any]:
    vault = runtime.vault
    found = {
        "id": row.id,
        "shop": shop.domain,
        "timezone": shop.timezone,
        "phone": masked(vault.decrypt_text(row.shop_id, row.phone_sealed)),
        "subject": row.subject,
        "class": row.message_class,
        "state": row.state,
        "error": row.error_code,
        "parts": row.parts,
        "encoding": row.encoding,
        "attempts": row.attempts,
        "received_at": row.received_at,
        "planned_at": row.planned_at,
        "due_at": row.due_at,
        "accepted_at": row.accepted_at,
        "finished_at": row.finished_at,
        "provider_id": row.provider_id,
        "request_id": row.request_id,
    }
    return {**found, "text": vault.decrypt_text(row.shop_id, row.body_sealed)} if show_text else found


def _line(row: dict[str, Any], *, show_text: bool) -> tuple[str, ...]:
    planned: datetime = row["planned_at"]
    why = show.words(row["error"]) if row["state"] not in {"accepted", "sent", "delivered"} else ""
    if row["state"] == MessageState.HELD:
        why = f"until {show.local(row['due_at'], row['timezone'])}"
    line = (show.local(planned, row["timezone"]), row["shop"], row["phone"], row["subject"], str(row["state"]), why)
    return (*line, row["text"]) if show_text else line
