"""`smsblossom up`: everything on this machine, from one command, until Ctrl-C."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import click

from smsblossom import settings
from smsblossom.cli import stack
from smsblossom.cli.stack import Stack, Wish
from smsblossom.settings import LOCAL_FILE, LOCAL_HOME

INTERRUPTED: Final = 130


@click.command()
@click.option("--host", help="Address to listen on; HOST otherwise, or 127.0.0.1.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on; PORT otherwise, or 8080. 0: a free one."
)
def up(host: str | None, port: int | None) -> None:
    """Run everything here: PostgreSQL, Redis, tables, web process and worker.

    Data, made-up secrets and addresses are kept in ./.smsblossom; commands in a second terminal in this folder find
    them there. The servers are this run's own, unless the environment names both DATABASE_URL and REDIS_URL.

    Without MITTO_API_KEY texts go to a fake Mitto on this machine, and to no phone. A process that dies is started
    again. Ctrl-C stops everything in order; the data stays.
    """
    given = settings.environment()
    wish = Wish(
        given=given,
        host=host or given.get("HOST") or "127.0.0.1",
        port=stack.wished_port(given, port),
        extra={} if given.get("LOG_FORMAT") or not sys.stderr.isatty() else {"LOG_FORMAT": "console"},
    )

    async def body() -> int:
        async with stack.running(wish, say) as here:
            click.echo(addresses(here))
            click.echo("Everything runs. Ctrl-C stops it; the data stays in .smsblossom.")
            sys.stdout.flush()
            await asyncio.Event().wait()
        return 0

    click.get_current_context().exit(until_stopped(body, code=0))


def say(sentence: str) -> None:
    """Progress: to standard error, since standard output is for what was asked. Nobody reading it stops nothing."""
    with suppress(OSError):
        click.echo(sentence, err=True)


def addresses(here: Stack) -> str:
    """Where to look, and where texts go."""
    lines = [
        f"  webhooks       {here.url}/webhooks/shopify",
        f"  health         {here.url}/health  {here.url}/queue/health",
        f"  metrics        {here.url}/queue/metrics",
    ]
    if here.mitto_url is not None:
        lines += [
            f"  texts sent     {here.mitto_url}/ledger  (kept in {here.ledger_file})",
            f"  settings       {LOCAL_HOME / LOCAL_FILE}",
            "Texts go only to the sandbox, a fake Mitto on this machine, and to no phone (MITTO_API_KEY is not set).",
        ]
    else:
        lines += [
            f"  settings       {LOCAL_HOME / LOCAL_FILE}",
            "MITTO_API_KEY is set: texts go to Mitto, and to real phones.",
        ]
    return "\n".join(lines)


def until_stopped(body: Callable[[], Coroutine[Any, Any, int]], *, code: int = INTERRUPTED) -> int:
    """Run `body`; SIGINT and SIGTERM cancel it once, and what it opened is closed in order. Its code, or `code`."""

    async def start() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(body())
        stopping = asyncio.Event()

        def stop() -> None:
            if not stopping.is_set():
                stopping.set()
                task.cancel()
                say("Stopping ...")

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        try:
            return await task
        except asyncio.CancelledError:
            if not stopping.is_set():
                raise
            return code

    return asyncio.run(start())
