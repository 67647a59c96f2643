"""`smsblossom`: the command group, and how errors reach a person: one line, exit code 2."""

import importlib
import sys
from typing import Any, Final

import click

from smsblossom.settings import SettingError

_COMMANDS: Final = {
    "migrate": ("smsblossom.cli.migrate", "migrate"),
    "serve": ("smsblossom.cli.serve", "serve"),
    "worker": ("smsblossom.cli.worker", "worker"),
}


class _Lazy(click.Group):
    """Knows its commands by name and imports a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*_COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, name = _COMMANDS[cmd_name]
        command: Any = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="smsblossom")
def cli() -> None:
    r"""Self-hosted, event-driven SMS automation for Shopify stores.

    \b
    Try it here, with no account:   smsblossom demo
    Run it here, on real webhooks:  smsblossom up
    Run it in production:           smsblossom migrate; smsblossom serve; smsblossom worker
    """


def main() -> None:
    """The entry point: expected errors become one line on standard error and exit code 2."""
    from smsblossom.cli.errors import explained

    try:
        cli(standalone_mode=True)
    except SettingError as error:
        sys.exit(_say(str(error)))
    except Exception as error:
        line = explained(error)
        if line is None:
            raise
        sys.exit(_say(line))


def _say(line: str) -> int:
    click.echo(f"smsblossom: {line}", err=True)
    return 2
