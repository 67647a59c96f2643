"""`smsblossom`: the command group, and how errors reach a person: one line on standard error, exit code 2."""

import importlib
import sys
from typing import Any, Final

import click

_COMMANDS: Final = {
    "audit": ("smsblossom.cli.audit", "Who did what: list and report."),
    "completion": ("smsblossom.cli.completion", "Print the tab completion of your shell."),
    "contact": ("smsblossom.cli.contact", "Add people to a shop."),
    "decisions": ("smsblossom.cli.decisions", "Why texts were sent, held or withheld."),
    "demo": ("smsblossom.cli.demo", "See it work here: orders become texts, on real parts, no account."),
    "doctor": ("smsblossom.cli.doctor", "Check everything an operator would check."),
    "messages": ("smsblossom.cli.messages", "The message ledger: every text and its state."),
    "migrate": ("smsblossom.cli.migrate", "Bring the database to this release's tables."),
    "schedule": ("smsblossom.cli.schedule", "What runs when: cron, intervals, one-off times."),
    "queue": ("smsblossom.cli.queue", "How the queues stand; pause, retry, drain and look into them."),
    "serve": ("smsblossom.cli.serve", "Receive webhooks and answer the probes."),
    "shop": ("smsblossom.cli.shop", "Connect, list, show, pause and resume shops."),
    "stop-all": ("smsblossom.cli.stop_all", "Stop every send of every shop, or release it."),
    "up": ("smsblossom.cli.up", "Run everything here, on embedded servers."),
    "webhook": ("smsblossom.cli.webhook", "Sign and post a webhook, as Shopify would."),
    "worker": ("smsblossom.cli.worker", "Run the queues."),
}
"""Name: the module that has the command under the same name, and its line in the list of commands."""


class _Lazy(click.Group):
    """Knows its commands by name and imports a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*_COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _ = _COMMANDS[cmd_name]
        command: Any = getattr(importlib.import_module(module), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's
        """The list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in sorted(_COMMANDS.items())])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="smsblossom")
def cli() -> None:
    """Self-hosted, event-driven SMS automation for Shopify stores.

    \b
    Try it here, with no account:   smsblossom demo
    Run it here, on real webhooks:  smsblossom up
    Run it in production:           smsblossom migrate; smsblossom serve; smsblossom worker

    Commands find the service by DATABASE_URL and the other settings of the environment, or else by what `up` or
    `demo` left in ./.smsblossom: run them in a second terminal, in the same folder.

    Exit codes: 0 done, 1 something is wrong with what was looked at, 2 wrong usage or nothing runs.
    """  # noqa: D301  the backspace is how click marks a paragraph that it must not wrap


def main() -> None:
    """The entry point: expected errors become one line on standard error and exit code 2."""
    try:
        code = cli(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        sys.exit(_say(_usage(error)))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(_reader_gone())
    except Exception as error:
        from smsblossom.cli.errors import explained

        line = explained(error)
        if line is None:
            raise
        sys.exit(_say(line))
    sys.exit(code if isinstance(code, int) else 0)


def _usage(error: click.ClickException) -> str:
    """Click's own sentence, with a valid example of the field it is about."""
    from smsblossom.cli.options import example_of

    line = " ".join(error.format_message().split()).rstrip(".")
    parameter = error.param if isinstance(error, click.BadParameter) else None
    example = example_of(parameter) if parameter is not None else None
    if example is not None and "for example" not in line:
        line = f"{line}; for example {example}"
    if isinstance(error, click.UsageError) and error.ctx is not None and example is None:
        line = f"{line}; see {error.ctx.command_path} --help"
    return line


def _reader_gone() -> int:
    """The reader of our output (`head`, a pager) has seen enough; Python's own flush at exit must not complain."""
    sys.stdout = None
    return 0


def _say(line: str) -> int:
    click.echo(f"smsblossom: {line}", err=True)
    return 2
