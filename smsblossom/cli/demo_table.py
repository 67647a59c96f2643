"""The demo's table: live on a terminal, one plain line per settled row elsewhere."""

from collections.abc import Sequence
from typing import Self

import click
from rich import box
from rich.live import Live
from rich.table import Table as RichTable

from smsblossom.cli import show
from smsblossom.cli.demo_lines import Line

_COLUMNS = ("event", "contact", "decision", "text", "provider", "ms")


class Table:
    """Shows the lines as they change; on leaving, a terminal keeps the whole last table."""

    def __init__(self) -> None:
        self._console = show.console()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._last: Sequence[Line] = ()
        self._told: set[str] = set()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()
        if kind is not None:
            return
        if self._console.is_terminal:
            self._console.print(_table(self._last))
        else:
            self._tell(self._last, settled_only=False)

    def update(self, lines: Sequence[Line]) -> None:
        self._last = lines
        if not self._console.is_terminal:
            self._tell(lines, settled_only=True)
            return
        fit = max(self._console.height - 4, 5)
        self._live.update(_table(_window(lines, fit)), refresh=True)

    def _tell(self, lines: Sequence[Line], *, settled_only: bool) -> None:
        for line in lines:
            if line.key not in self._told and (line.is_settled or not settled_only):
                self._told.add(line.key)
                click.echo(_plain(line))


def _window(lines: Sequence[Line], fit: int) -> Sequence[Line]:
    """As many lines as the terminal holds: up to the last one that something is known of."""
    last = max((number for number, line in enumerate(lines) if line.decision != "…"), default=0) + 1
    end = max(last, fit)
    return lines[max(0, min(end, len(lines)) - fit) : end]


def _table(lines: Sequence[Line]) -> RichTable:
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=True)
    for name in _COLUMNS[:-1]:
        table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1 if name == "text" else None)
    table.add_column(_COLUMNS[-1], no_wrap=True, justify="right")
    for line in lines:
        provider = show.styled(line.provider)
        provider.stylize(show.STYLES.get(line.provider.rpartition(" → ")[2].split(" ")[0], ""))
        table.add_row(line.event, line.contact, show.styled(line.decision), line.text, provider, _ms(line))
    return table


def _plain(line: Line) -> str:
    parts = [f"{line.event:<38}", f"{line.contact:<14}", f"{line.decision:<38}"]
    if line.provider:
        parts.append(line.provider)
    if line.milliseconds is not None:
        parts.append(f"{line.milliseconds} ms")
    if line.text:
        parts.append(f"“{line.text}”")
    return "  ".join(parts).rstrip()


def _ms(line: Line) -> str:
    return "" if line.milliseconds is None else str(line.milliseconds)
