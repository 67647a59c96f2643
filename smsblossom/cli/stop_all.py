"""`smsblossom stop-all`: the one switch that stops every send."""

import sys

import click

from smsblossom.bootstrap import Runtime
from smsblossom.cli import options, session, show
from smsblossom.usecases import manage


@click.command()
@click.option("--release", is_flag=True, help="Let sending go on; also ends the hold after a restored backup.")
@click.option("--status", is_flag=True, help="Only say whether sending is stopped.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation on a terminal.")
@options.as_json
def stop_all(*, release: bool, status: bool, yes: bool, as_json: bool) -> None:
    """Stop every send of every shop, or release it.

    Webhooks are received and decided all the while: texts decided meanwhile are withheld with the reason stop_all.
    A text that is on its way to the provider at this moment is not called back.
    """
    if release and status:
        raise click.UsageError("--release and --status exclude each other")
    if not (status or yes) and sys.stdin.isatty():
        question = "Let every shop send again?" if release else "Stop every text of every shop?"
        click.confirm(question, abort=True, err=True)

    async def body(runtime: Runtime) -> dict[str, bool]:
        if not status:
            switch = manage.release if release else manage.stop_all
            await switch(runtime, actor=session.ACTOR)
        return await manage.sending_state(runtime)

    state = session.ask(body)
    if as_json:
        show.json(state)
    else:
        click.echo(sentence(state))


def sentence(state: dict[str, bool]) -> str:
    """What the switches mean, and how to change it."""
    if state["stop_all"]:
        return "every send is stopped; release with: smsblossom stop-all --release"
    if state["sending_held"]:
        return "sending is held since a start after a long silence; look, then: smsblossom stop-all --release"
    return "sending is on; stop every send with: smsblossom stop-all"
