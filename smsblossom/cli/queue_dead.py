"""`smsblossom queue dead`: jobs that used up their tries."""

import sys
from typing import Final

import click
import msgspec

from smsblossom.api.dead_letters import Letter, LettersDone, letter_of
from smsblossom.bootstrap import Runtime
from smsblossom.cli import options, queue_options, session, show
from smsblossom.domain.ids import ShopId, shop_id_of
from smsblossom.jobs import QueueName
from smsblossom.store.dead_letters import Filter
from smsblossom.usecases import dead_letters
from smsblossom.usecases.dead_letters import Redriven

_COLUMNS: Final = ("letter", "job", "queue", "function", "attempts", "last failed", "error")

letter = click.argument("ref", metavar="LETTER")
in_queue = click.option(
    "--queue", "queue_name", type=queue_options.QUEUE, metavar="QUEUE", help="Only those of this queue."
)
of_function = click.option("--function", metavar="NAME", help="Only those of this function, such as events:process.")
with_error = click.option("--error", "error_type", metavar="TYPE", help="Only those with this error's type.")
of_shop = click.option("--shop", type=options.SHOP, metavar="DOMAIN", help="Only those of this shop.")


@click.group()
def dead() -> None:
    """Jobs that used up their tries: look at them, run them again, drop them.

    LETTER is a dead letter's own id, or its job's. Letters expire after DEAD_LETTER_DAYS days; the audit log says so.

    \b
    smsblossom queue dead list --queue events
    smsblossom queue dead show 0193d3a0-7c2e-7f10-8a54-0d6a5f0e9c11
    smsblossom queue dead retry 0193d3a0-7c2e-7f10-8a54-0d6a5f0e9c11
    smsblossom queue dead retry --all --error JobTimedOut
    """  # noqa: D301  click's mark of a paragraph that it must not wrap


@dead.command(name="list")
@in_queue
@of_function
@with_error
@of_shop
@queue_options.offset
@queue_options.page
@options.as_json
def list_letters(
    queue_name: QueueName | None,
    function: str | None,
    error_type: str | None,
    shop: str | None,
    offset: int,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """The dead letters, last failed first."""
    where = _filter(queue_name, function, error_type, shop)
    found = session.ask(lambda runtime: dead_letters.listing(runtime, where=where, limit=limit, offset=offset))
    letters = [letter_of(each) for each in found]
    if as_json:
        show.json(letters)
        return
    show.rows(_COLUMNS, [_line(each) for each in letters], empty="no dead letters")
    if len(letters) == limit:
        click.echo(f"\nthere may be more; next: --offset {offset + limit}")


@dead.command(name="show")
@letter
@options.as_json
def show_letter(ref: str, *, as_json: bool) -> None:
    """One dead letter, with the error's trace."""
    found = letter_of(session.ask(lambda runtime: dead_letters.show(runtime, ref)))
    if as_json:
        show.json(found)
        return
    values = msgspec.structs.asdict(found)
    data = {f"data.{name}": value for name, value in (values.pop("data") or {}).items()}
    trace = values.pop("trace")
    pairs = {**values, **data}
    show.facts([(name.replace("_", " "), str(value)) for name, value in pairs.items() if value is not None])
    if trace:
        click.echo(f"\n{trace.rstrip()}")


@dead.command()
@click.argument("ref", metavar="[LETTER]", required=False)
@click.option("--all", "every", is_flag=True, help="All that the filters mean, in place of one LETTER.")
@in_queue
@of_function
@with_error
@of_shop
@queue_options.at_most(1_000)
@options.as_json
def retry(
    ref: str | None,
    queue_name: QueueName | None,
    function: str | None,
    error_type: str | None,
    shop: str | None,
    limit: int,
    *,
    every: bool,
    as_json: bool,
) -> None:
    """Run dead jobs again, each from its first attempt: one LETTER, or --all that the filters mean."""
    if every == (ref is not None):
        which = "both" if every else "neither"
        raise click.UsageError(
            f"name one LETTER or say --all, not {which}; for example smsblossom queue dead retry --all"
        )
    where = _filter(queue_name, function, error_type, shop)

    async def body(runtime: Runtime) -> Redriven:
        if ref is not None:
            return await dead_letters.redrive(runtime, ref, actor=session.ACTOR)
        return await dead_letters.redrive_matching(runtime, where=where, actor=session.ACTOR, limit=limit)

    done = session.ask(body)
    if as_json:
        show.json(LettersDone(done="retried", letters=done.letters, waiting=done.waiting))
        return
    later = f"; {done.waiting} of them when Redis answers again" if done.waiting else ""
    click.echo(f"{done.letters:,} dead job{'' if done.letters == 1 else 's'} will run again{later}")


@dead.command()
@letter
@click.option("--yes", is_flag=True, help="Do not ask for confirmation; needed where nobody can be asked.")
@options.as_json
def drop(ref: str, *, yes: bool, as_json: bool) -> None:
    """Delete a dead letter for good: its job can never be run again."""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(f"drop is for good: say --yes; for example smsblossom queue dead drop {ref} --yes")
        click.confirm(f"Delete the dead letter {ref} for good?", abort=True, err=True)
    session.ask(lambda runtime: dead_letters.drop(runtime, ref, actor=session.ACTOR))
    if as_json:
        show.json(LettersDone(done="dropped", letters=1))
    else:
        click.echo(f"dropped the dead letter {ref}")


def _filter(queue_name: QueueName | None, function: str | None, error_type: str | None, shop: str | None) -> Filter:
    shop_id: ShopId | None = None if shop is None else shop_id_of(shop)
    return Filter(queue=queue_name, function=function, error_type=error_type, shop_id=shop_id)


def _line(each: Letter) -> tuple[str, ...]:
    when = f"{each.last_failed_at:%Y-%m-%d %H:%M:%S} UTC"
    return (str(each.id), each.job_id, each.queue, each.function, str(each.attempts), when, each.error_type)
