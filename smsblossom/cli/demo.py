"""`smsblossom demo`: orders become texts, on real parts, on this machine, with no account."""

import asyncio
import secrets
import statistics
import sys
from collections.abc import Sequence
from typing import Final

import aiohttp
import click
import msgspec

from smsblossom import settings, telemetry
from smsblossom.bootstrap import Runtime, open_runtime
from smsblossom.cli import demo_lines, options, show, stack, up
from smsblossom.cli.demo_lines import Line, Picture
from smsblossom.cli.demo_plan import CONSENTING, NOT_CONSENTING, STOPPER, Plan, Planned, make_plan
from smsblossom.cli.demo_table import Table
from smsblossom.cli.stack import Stack, Wish
from smsblossom.embedded.processes import news
from smsblossom.sandbox import mitto, shopify
from smsblossom.settings import LOCAL_HOME
from smsblossom.store import automations, decisions, inbox, messages, trail
from smsblossom.store.shops import Shop
from smsblossom.usecases import manage
from smsblossom.usecases.manage import NewShop

_ACTOR: Final = "demo"
_SETTLED_WITHIN_S: Final = 15.0
_STOP_HEARD_WITHIN_S: Final = 8.0
_LOOK_EVERY_S: Final = 0.15
_PACE_S: Final = 0.08
_FIRST_PACE_S: Final = 0.6
"""The first text is slow: the worker opens its connections and reads its tables for it."""
_KNOBS: Final = '{"report_delay_ms": 150, "late_report_ms": 2500}'
_IMPATIENT: Final = {"MITTO_READ_TIMEOUT": "1.2", "LOG_FORMAT": "json"}
"""A provider that never answers is given up on while somebody watches; the service's own default is 30 s."""
_NOT_FOR_DEMO: Final = frozenset(
    {"DATABASE_URL", "DATABASE_ADMIN_URL", "REDIS_URL", "APP_URL", "MITTO_API_KEY", "MITTO_BASE_URL"}
)
"""The demo runs on servers of its own and texts nobody, whatever the environment names."""


@click.command()
@click.option("--exit", "ends", is_flag=True, help="End after the table; exit code 1 if anything was lost or doubled.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on; PORT otherwise, or 8080. 0: a free one."
)
@options.as_json
def demo(*, ends: bool, port: int | None, as_json: bool) -> None:
    """See it work: everything starts here, signed webhooks come in, and each is shown with what came of it.

    \b
    event     what Shopify posted: orders, payments, parcels, and what a provider may do to a text
    contact   whom it is about (masked)
    decision  send, hold until an hour, or withhold, with the reason
    text      what the person gets
    provider  what became of it: attempts, then delivery reports
    ms        from the webhook's arrival to the provider's acceptance

    At the end the ledger is compared with the fake provider's own books. Then it keeps running until Ctrl-C, for you
    to try commands in a second terminal. No text reaches a phone. --json prints the result and ends.
    """  # noqa: D301  click's mark of a paragraph that it must not wrap
    given = {name: value for name, value in settings.environment().items() if name not in _NOT_FOR_DEMO}
    wish = Wish(
        given=given,
        host="127.0.0.1",
        port=stack.wished_port(given, port),
        extra=_IMPATIENT,
        mitto_knobs=_KNOBS,
        logs=LOCAL_HOME / "logs",
    )

    async def body() -> int:
        async with stack.running(wish, up.say) as here:
            code = await _show(here, as_json=as_json)
            if not (ends or as_json):
                await _stay(here)
        return code

    click.get_current_context().exit(up.until_stopped(body))


async def _show(here: Stack, *, as_json: bool) -> int:
    """Post, watch, compare, tell. 1 when something is wrong."""
    telemetry.configure_logging("error", "console")
    async with (
        open_runtime(settings.load(here.environment), pool_size=4) as runtime,
        aiohttp.ClientSession() as client,
    ):
        shop = await _make_shop(runtime)
        plan = make_plan(shop.domain, runtime.now(), secrets.randbits(48))
        run = _Run(runtime, client, here, shop, plan)
        if as_json:
            async with news(up.say, "Posting webhooks and waiting for their texts ..."):
                picture = await run.watched(None)
        else:
            click.echo(f"Posting {len(plan.all)} signed webhooks of {shop.domain} to {here.url}/webhooks/shopify\n")
            with Table() as table:
                picture = await run.watched(table)
    shown, wrong = demo_lines.lines(plan.all, picture), demo_lines.problems(plan.all, picture)
    wrong += [f"{line.event}: not settled within {_SETTLED_WITHIN_S:.0f} s" for line in shown if not line.is_settled]
    if as_json:
        rows = [msgspec.to_builtins(line) for line in shown]
        show.json({"shop": shop.domain, "rows": rows, "texts": len(picture.texts), "problems": wrong})
    else:
        click.echo(_summary(shown, picture, wrong))
    return 1 if wrong else 0


class _Run:
    """One run of the demo: posts its plan and looks at what came of it."""

    def __init__(self, runtime: Runtime, client: aiohttp.ClientSession, here: Stack, shop: Shop, plan: Plan) -> None:
        self._runtime, self._client, self._here, self._shop, self._plan = runtime, client, here, shop, plan
        self._answers: dict[str, int | None] = {}

    async def watched(self, table: Table | None) -> Picture:
        """Post everything and look until all of it is settled, or the time is up."""
        posting = asyncio.create_task(self._post_all())
        try:
            deadline: float | None = None
            loop = asyncio.get_running_loop()
            while True:
                picture = await self._look()
                shown = demo_lines.lines(self._plan.all, picture)
                if table is not None:
                    table.update(shown)
                if posting.done():
                    posting.result()
                    deadline = deadline or loop.time() + _SETTLED_WITHIN_S
                    if all(line.is_settled for line in shown) or loop.time() > deadline:
                        return picture
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            posting.cancel()
            await asyncio.wait([posting])

    async def _post_all(self) -> None:
        """At a pace that an eye can follow, and that shows the time of one text rather than of a queue of them."""
        for planned in self._plan.first:
            await self._post(planned)
            await asyncio.sleep(_PACE_S if len(self._answers) > 1 else _FIRST_PACE_S)
        await self._until_stop_is_heard()
        for planned in self._plan.after_stop:
            await self._post(planned)

    async def _post(self, planned: Planned) -> None:
        secret = self._runtime.settings.shopify_api_secrets[0].decode()
        address = f"{self._here.url}/webhooks/shopify"
        signed_with = f"not {secret}" if planned.is_forged else secret
        status, _ = await shopify.post(self._client, address, planned.delivery, secret=signed_with)
        self._answers[planned.delivery.webhook_id] = status

    async def _until_stop_is_heard(self) -> None:
        """The person at the magic number answers STOP to the first text; a later order must find that out."""
        index = self._runtime.vault.blind_index(self._shop.id, STOPPER)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _STOP_HEARD_WITHIN_S
        while loop.time() < deadline:
            async with self._runtime.store.transaction(self._shop.id) as connection:
                if await trail.is_opted_out(connection, self._shop.id, index):
                    return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _look(self) -> Picture:
        runtime, shop_id, many = self._runtime, self._shop.id, 500
        books = await mitto.fetch_ledger(self._client, self._here.mitto_url or "")
        async with runtime.store.transaction(shop_id) as connection:
            rows = await inbox.listing(connection, shop_id, limit=many)
            made = await decisions.listing(connection, shop_id, limit=many)
            ledger = await messages.listing(connection, shop_id, limit=many)
            steps = await trail.steps_of(connection, shop_id, [row.id for row in ledger])
            known = await automations.listing(connection, shop_id)
        return Picture(
            answers=dict(self._answers),
            inbox=rows,
            decisions=made,
            automations={str(automation_id): each.key for automation_id, _, each in known},
            messages={row.id: row for row in ledger},
            bodies={row.id: runtime.vault.decrypt_text(shop_id, row.body_sealed) for row in ledger},
            steps=steps,
            texts=[text for text in books.texts if text.sender == self._shop.sender],
        )


async def _make_shop(runtime: Runtime) -> Shop:
    """A shop of this run's own, so that an earlier run's STOP or caps do not reach into it."""
    known = {shop.domain for shop in await manage.list_shops(runtime)}
    number = next(n for n in range(1, len(known) + 2) if f"demo-{n}.myshopify.com" not in known)
    new = NewShop(
        domain=f"demo-{number}.myshopify.com",
        timezone="America/New_York",
        country="US",
        sender=f"Demo{number}",
        name="Demo Shop",
        currency="USD",
    )
    shop, _ = await manage.add_shop(runtime, new, actor=_ACTOR)
    await manage.set_automation(runtime, shop, "thank_you_offer", enabled=True, actor=_ACTOR)
    for phone, consenting in ((CONSENTING, True), (NOT_CONSENTING, False)):
        await manage.add_contact(runtime, shop, raw_phone=phone, marketing_consent=consenting, actor=_ACTOR)
    return shop


def _summary(shown: Sequence[Line], picture: Picture, wrong: Sequence[str]) -> str:
    verdicts = [line.decision.split(":")[0] for line in shown]
    times = [line.milliseconds for line in shown if line.milliseconds is not None]
    open_ends = demo_lines.unknown(picture)
    sends, holds, withholds = (verdicts.count(word) for word in ("send", "hold", "withhold"))
    told = [f"\n{sends} sends, {holds} held for the hour, {withholds} withheld, each with its reason."]
    if times:
        told.append(f"From webhook to provider: {statistics.median(times):.0f} ms median, over {len(times)} texts.")
    if open_ends:
        told.append(
            f"{len(open_ends)} unknown: the provider failed and nobody can say whether it took the text. "
            "It is never resent blindly."
        )
    if wrong:
        return "\n".join([*told, "Something is wrong:", *(f"  - {problem}" for problem in wrong)])
    books = f"{len(picture.texts)} texts in the fake Mitto's own books, each once; nothing lost, nothing doubled."
    return "\n".join([*told, books])


async def _stay(here: Stack) -> None:
    """Keep running until Ctrl-C, and say what to try meanwhile."""
    click.echo(
        f"""
Everything keeps running; Ctrl-C stops it. Look at:
{up.addresses(here)}
Try in a second terminal, in this folder:
  smsblossom messages            every text and its state
  smsblossom decisions           why each was sent, held or withheld
  smsblossom doctor              is everything well
  smsblossom stop-all            the one switch that stops every send"""
    )
    sys.stdout.flush()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return  # the table was shown: stopping now is no failure
