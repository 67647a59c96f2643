"""How answers look: a table for people (colours only on a terminal), JSON for scripts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

_NARROWEST = 160
"""Columns of a table that is written to a file or a pipe, where no terminal tells its width."""

STYLES = {
    "ok": "green",
    "send": "green",
    "delivered": "green",
    "accepted": "cyan",
    "sent": "cyan",
    "active": "green",
    "warn": "yellow",
    "hold": "yellow",
    "held": "yellow",
    "unknown": "yellow",
    "queued": "yellow",
    "submitting": "yellow",
    "paused": "yellow",
    "fail": "bold red",
    "withhold": "magenta",
    "withheld": "magenta",
    "refused": "red",
    "failed": "red",
    "undelivered": "red",
    "expired": "red",
    "uninstalled": "red",
}


def console(*, stderr: bool = False) -> Console:
    """Rich's console: colours and cursor movements only where it finds a terminal (or FORCE_COLOR; never NO_COLOR)."""
    plain = Console(stderr=stderr, highlight=False, soft_wrap=False)
    return plain if plain.is_terminal else Console(stderr=stderr, highlight=False, width=max(plain.width, _NARROWEST))


def json(value: object) -> None:
    """One JSON document, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def json_line(value: object) -> None:
    click.echo(msgspec.json.encode(value).decode())


def rows(columns: Sequence[str], lines: Sequence[Sequence[str]], *, empty: str) -> None:
    """A table without frames, which pastes well; `empty` is said in place of a table without rows."""
    if not lines:
        click.echo(empty)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for line in lines:
        table.add_row(*(styled(cell) for cell in line))
    console().print(table)


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """Names and values, one pair a line."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        click.echo(f"{name:<{width}}  {value}")


def styled(cell: str) -> Any:
    """The cell in the colour of its first word; never read as markup."""
    from rich.text import Text

    first = cell.split(":", 1)[0].split(" ", 1)[0]
    return Text(cell, style=STYLES.get(first, ""))


def local(moment: datetime, zone: str) -> str:
    """A moment on that zone's clock, with the clock's name: `Nov 22 19:17:02 EST`."""
    return f"{moment.astimezone(ZoneInfo(zone)):%b %d %H:%M:%S %Z}"


def words(reason: str | None) -> str:
    return (reason or "").replace("_", " ")
