"""`smsblossom schedule`: what runs when."""

import json as stdlib_json
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from smsblossom.bootstrap import Runtime
from smsblossom.cli import options, session, show
from smsblossom.domain.ids import SYSTEM, ShopId, shop_id_of
from smsblossom.domain.schedules import CatchUp
from smsblossom.queue.registry import DEFAULT, Registry
from smsblossom.store.schedules import Schedule
from smsblossom.usecases import manage, schedules
from smsblossom.usecases.manage import Refused
from smsblossom.usecases.schedules import NewSchedule

_OF = "The shop whose schedule it is; the system's own otherwise."
_of_shop = click.option("--shop", type=options.SHOP, metavar="DOMAIN", help=_OF)
_name = click.argument("name")


@click.group()
def schedule() -> None:
    """What runs when: list, add, change, run, pause, resume and remove schedules, also while workers run."""


@schedule.command(name="list")
@click.option("--shop", type=options.SHOP, metavar="DOMAIN", help="Only this shop; all and the system's own otherwise.")
@options.as_json
def listing(shop: str | None, *, as_json: bool) -> None:
    """All schedules; those that fire next first."""

    async def body(runtime: Runtime) -> list[dict[str, Any]]:
        domains = {found.id: found.domain for found in await manage.list_shops(runtime)}
        found = await schedules.listing(runtime, shop_id_of(shop) if shop else None)
        return [{**_plain(each), "shop": domains.get(each.shop_id)} for each in found]

    found = session.ask(body)
    if as_json:
        show.json(found)
        return
    columns = ("name", "shop", "when", "next (UTC)", "last (UTC)", "missed", "runs")
    lines = [
        (
            each["name"],
            each["shop"] or "system",
            _when(each["timing"]),
            _next(each),
            _utc(each["last_at"]),
            each["catch_up"],
            f"{each['function']} {stdlib_json.dumps(each['arguments'])}",
        )
        for each in found
    ]
    show.rows(columns, lines, empty="no schedules yet; a worker makes the system's own when it starts")


@schedule.command()
@_name
@click.option("--function", required=True, help="The function to run, such as housekeeping:run.")
@click.option("--args", "arguments", default="{}", metavar="JSON", help="Its arguments, as a JSON object.")
@click.option("--cron", metavar="EXPRESSION", help='Five fields, such as "0 9 * * MON-FRI".')
@click.option("--timezone", metavar="ZONE", help="IANA zone of --cron, such as America/New_York; UTC otherwise.")
@click.option("--every", metavar="DURATION", help="An interval, such as 15m or 1h30m; the first tick is one from now.")
@click.option("--at", type=options.MOMENT, metavar="TIME", help="Once, such as 2026-12-01T09:00:00-05:00.")
@click.option(
    "--catch-up",
    type=click.Choice([policy.value for policy in CatchUp]),
    default=CatchUp.ONCE.value,
    show_default=True,
    help="What becomes of ticks that were missed while nothing ran: none, one for all of them, or each.",
)
@click.option("--replace", is_flag=True, help="Put it in the place of the one of this name.")
@_of_shop
@options.as_json
def add(
    name: str,
    function: str,
    arguments: str,
    cron: str | None,
    timezone: str | None,
    every: str | None,
    at: datetime | None,
    catch_up: str,
    shop: str | None,
    *,
    replace: bool,
    as_json: bool,
) -> None:
    r"""Add a schedule, or change one.

    At a clock change a fixed time of day fires once: a skipped time at the change, a repeated time the first time.

    \b
    smsblossom schedule add tidy --function housekeeping:run --args '{"type": "purge"}' --cron "0 4 * * *"
    """

    async def body(runtime: Runtime) -> Schedule:
        timing = schedules.timing_of(cron=cron, timezone=timezone, every=every, at=at, now=runtime.now())
        new = NewSchedule(
            name=name, function=function, arguments=_object(arguments), timing=timing, catch_up=CatchUp(catch_up)
        )
        shop_id = await _shop(runtime, shop)
        return await schedules.save(runtime, _registry(), new, shop_id=shop_id, actor=session.ACTOR, replace=replace)

    saved = session.ask(body)
    _say(saved, f"{name} fires next at {_utc(msgspec.to_builtins(saved.next_at))} UTC", as_json=as_json)


@schedule.command()
@_name
@_of_shop
@options.as_json
def remove(name: str, shop: str | None, *, as_json: bool) -> None:
    """Remove a schedule. What has fired still runs."""

    async def body(runtime: Runtime) -> None:
        await schedules.remove(runtime, name, shop_id=await _shop(runtime, shop), actor=session.ACTOR)

    session.ask(body)
    if as_json:
        show.json({"name": name, "removed": True})
    else:
        click.echo(f"{name} is removed")


@schedule.command()
@_name
@_of_shop
@options.as_json
def run(name: str, shop: str | None, *, as_json: bool) -> None:
    """Fire a schedule once now, beside its own ticks, paused or not."""

    async def body(runtime: Runtime) -> tuple[str, bool]:
        shop_id = await _shop(runtime, shop)
        return await schedules.run_now(runtime, _registry(), name, shop_id=shop_id, actor=session.ACTOR)

    job_id, is_queued = session.ask(body)
    if as_json:
        show.json({"name": name, "job_id": job_id, "queued": is_queued})
    else:
        click.echo(f"{name} has fired: {job_id}" + ("" if is_queued else "; it runs when Redis can be reached again"))


@schedule.command()
@_name
@_of_shop
@options.as_json
def pause(name: str, shop: str | None, *, as_json: bool) -> None:
    """Fire no tick until resumed."""

    async def body(runtime: Runtime) -> Schedule:
        return await schedules.pause(runtime, name, shop_id=await _shop(runtime, shop), actor=session.ACTOR)

    _say(session.ask(body), f"{name} is paused", as_json=as_json)


@schedule.command()
@_name
@_of_shop
@options.as_json
def resume(name: str, shop: str | None, *, as_json: bool) -> None:
    """Go on with the next tick from now; what lay in the pause is not caught up with."""

    async def body(runtime: Runtime) -> Schedule:
        return await schedules.resume(runtime, name, shop_id=await _shop(runtime, shop), actor=session.ACTOR)

    resumed = session.ask(body)
    _say(resumed, f"{name} fires next at {_utc(msgspec.to_builtins(resumed.next_at))} UTC", as_json=as_json)


def _registry() -> Registry:
    """Every function of this release: the processors register themselves when they are imported."""
    import processors

    assert processors.__all__
    return DEFAULT


async def _shop(runtime: Runtime, domain: str | None) -> ShopId:
    return SYSTEM if domain is None else (await manage.find_shop(runtime, domain)).id


def _object(text: str) -> dict[str, Any]:
    try:
        found = stdlib_json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Refused(f"""args: {text!r} is no JSON object; for example --args '{{"type": "purge"}}'""")
    return found


def _say(found: Schedule, sentence: str, *, as_json: bool) -> None:
    if as_json:
        show.json(_plain(found))
    else:
        click.echo(sentence)


def _plain(found: Schedule) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(found)
    return plain


def _when(timing: dict[str, Any]) -> str:
    match timing:
        case {"type": "cron", "expression": expression, "timezone": zone}:
            return f"{expression} {zone}"
        case {"type": "interval", "every": every}:
            return f"every {str(every).removeprefix('P').removeprefix('T').lower()}"
        case {"type": "once", "at": at}:
            return f"once at {_utc(at)}"
        case _:
            return "?"


def _next(each: dict[str, Any]) -> str:
    return "paused" if each["paused"] else _utc(each["next_at"])


def _utc(moment: str | None) -> str:
    if moment is None:
        return "never"
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
