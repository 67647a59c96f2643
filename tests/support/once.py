"""P2 and P3 as a run: orders at a steady rate while Redis is flushed and workers are killed; then audit.

Three books are compared that share no code: what we posted (one text per order and automation), the fake Mitto's own
ledger file, and our rows as a superuser reads them.
"""

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from time import monotonic
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import aiohttp
import asyncpg

from smsblossom.sandbox import phones
from smsblossom.sandbox.mitto_ledger import Text
from smsblossom.sandbox.shopify import Chaos, Deliverer, delivery_of, disturbed
from smsblossom.sandbox.shopify_catalogue import Sample, web_order
from smsblossom.sandbox.shopify_orders import order_body
from smsblossom.sandbox.shopify_shapes import Ids, encode
from tests.support.service import SECRET, SHOP, Process, Service

CREATED, PAID = "order_created", "order_paid"
SILENT, LOST_ANSWER, NOT_TAKEN = 3, 7, 8
UNKNOWABLE = frozenset({SILENT, LOST_ANSWER, NOT_TAKEN})
MAGIC = (*UNKNOWABLE, 4, 5)
MAGIC_SHARE = 0.08
REPORTS_HELD_S, REPORTS_OPEN_S = 35.0, 15.0
UNSETTLED = ("planned", "queued", "submitting", "held")
_NAME = re.compile(r"order (#\d+)")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Expected(NamedTuple):
    """One text that somebody must get once: by the words in it, and by whom it is for."""

    order: str
    automation: str
    to: str

    @property
    def ending(self) -> int:
        return int(self.to[-2:])


class Row(NamedTuple):
    """One of our ledger rows, as the third party reads it."""

    id: str
    state: str
    subject: str
    automation: str
    code: str | None


@dataclass(slots=True)
class Orders:
    """The orders that were placed, and the texts they call for. Nothing here was read from the service."""

    subjects: dict[str, str] = field(default_factory=dict)
    expected: set[Expected] = field(default_factory=set)
    webhooks: int = 0

    def place(self, name: str, order_id: int, to: str) -> None:
        self.subjects[name] = f"order:{order_id}"
        self.expected |= {Expected(name, automation, to) for automation in (CREATED, PAID)}


@dataclass(slots=True)
class Faults:
    """What was done to the service, and what the third party saw just before."""

    counts: Counter[str] = field(default_factory=Counter)
    submitting: set[str] = field(default_factory=set)
    ever_unknown: dict[str, str | None] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The comparison. Every set named for something wrong must be empty."""

    expected: int
    in_ledger: int
    doubled_texts: dict[Expected, int]
    doubled_references: dict[str, int]
    unasked_for: set[Expected]
    lacking: int
    lacking_not_unknown: dict[Expected, str]
    claimed_but_lacking: set[str]
    unknown: set[str]
    unknown_without_cause: dict[str, str | None]
    allowed_unknown: int
    states: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """The figures of one run: the audit while reports were withheld, and what reports settled afterwards."""

    seed: int
    orders: Orders
    faults: Faults
    stuck: list[str]
    audit: Audit
    after_reports: Audit
    unknown_but_in_ledger: set[str]
    not_delivered: set[str]
    settled_in_s: float

    def figures(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "webhooks": self.orders.webhooks,
            **{f"faults_{kind}": count for kind, count in sorted(self.faults.counts.items())},
            "expected": self.audit.expected,
            "in_ledger": self.audit.in_ledger,
            "doubled": len(self.audit.doubled_texts) + len(self.audit.doubled_references),
            "lacking": self.audit.lacking,
            "unknown": len(self.audit.unknown),
            "ever_unknown": len(self.faults.ever_unknown),
            "allowed_unknown": self.audit.allowed_unknown,
            "read_as_submitting": len(self.faults.submitting),
            "unknown_after_reports": len(self.after_reports.unknown),
            "unknown_but_in_ledger": len(self.unknown_but_in_ledger),
            "settled_in_s": round(self.settled_in_s, 1),
        }


async def endure(
    service: Service, *, lasting_s: float, orders_per_s: float, pause_s: tuple[float, float], thorough: bool, seed: int
) -> Once:
    """Place orders for `lasting_s` with a fault every `pause_s` (from, to) seconds; then wait, audit, and settle.

    `thorough` adds workers that stand still, some for longer than it takes to be thought dead, and come back; and
    PostgreSQL stopped at once, in the middle of whatever it was asked to commit.
    """
    orders, faults, dice = Orders(), Faults(), random.Random(seed)
    async with _watching(service, faults):
        async with _beside(_hold_reports(service)), asyncio.TaskGroup() as tasks:
            placing = tasks.create_task(_place_orders(service, orders, lasting_s, orders_per_s, seed))
            while not placing.done():
                await asyncio.sleep(dice.uniform(*pause_s))
                comeback = await _strike(service, faults, dice, thorough=thorough)
                if comeback is not None:
                    tasks.create_task(comeback)
        await service.turn(reports_paused=True)
        began = monotonic()
        stuck = await _left_after(service, _all_ended(orders))
        settled_in_s = monotonic() - began
    audit = await _audit(service, orders, faults)
    await service.turn(reports_paused=False)
    stuck += await _left_after(service, _all_reported(service))
    after = await _audit(service, orders, faults)
    rows, sent = await _rows(service), {text.reference for text in service.ledger()}
    return Once(
        seed=seed,
        orders=orders,
        faults=faults,
        stuck=stuck,
        audit=audit,
        after_reports=after,
        unknown_but_in_ledger={row.id for row in rows if row.state == "unknown" and row.id in sent},
        not_delivered={row.id for row in rows if row.state != "delivered" and row.id in sent},
        settled_in_s=settled_in_s,
    )


# ---- load


async def _place_orders(service: Service, orders: Orders, lasting_s: float, orders_per_s: float, seed: int) -> None:
    """Each order is created and paid at once; some webhooks come twice, under the same id or a new one."""
    ids, dice = Ids(seed), random.Random(f"{seed}:orders")
    until, number = monotonic() + lasting_s, 1001
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        deliverer = Deliverer(session, service.webhook_url, SECRET, speed=500)
        while monotonic() < until:
            samples = _order(orders, ids, dice, number)
            group.create_task(_post(deliverer, orders, samples, ids, seed=seed + number))
            number += 1
            await asyncio.sleep(dice.expovariate(orders_per_s))


def _order(orders: Orders, ids: Ids, dice: random.Random, number: int) -> list[Sample]:
    to = phones.magic(dice.choice(MAGIC), number % 100) if dice.random() < MAGIC_SHARE else phones.plain(number)
    order = web_order(ids, datetime.now(UTC), to, number=number)
    orders.place(f"#{number}", order.id, to.removeprefix("+"))
    paid = replace(order, financial_status="paid")
    return [
        Sample("created", "orders/create", encode(order_body(order))),
        Sample("paid", "orders/paid", encode(order_body(paid))),
    ]


async def _post(deliverer: Deliverer, orders: Orders, samples: Sequence[Sample], ids: Ids, *, seed: int) -> None:
    webhooks = [delivery_of(sample, ids, shop=SHOP, triggered_at=datetime.now(UTC)) for sample in samples]
    sent = disturbed(webhooks, Chaos(seed=seed, repeat=0.1, duplicate=0.1, shuffle=True)).sent
    orders.webhooks += len(sent)
    taken = await deliverer.deliver_all(sent, concurrency=2)
    assert taken == len(sent), "the web process refused a webhook for good"


# ---- faults


async def _strike(
    service: Service, faults: Faults, dice: random.Random, *, thorough: bool
) -> Coroutine[Any, Any, None] | None:
    """One fault, after the third party has looked; what brings its victim back, to be run beside the next faults."""
    kind = dice.choice(_KINDS + _MORE_KINDS if thorough else _KINDS)
    victim = _victim(service, faults, dice)
    if kind == "postgres":
        faults.counts[kind] += 1
        faults.submitting |= await _submitting(service)
        await service.postgres.stop_at_once()
        await service.postgres.start()
        return None
    if kind == "flush":
        faults.counts[kind] += 1
        faults.submitting |= await _submitting(service)
        await service.flush_redis()
        return None
    if victim is None:
        return None
    faults.counts[kind] += 1
    faults.down.add(victim.name)
    victim.freeze()
    await _let_commits_through(service)
    faults.submitting |= await _submitting(service)
    if kind == "flush_and_kill":
        await service.flush_redis()
    if kind in _FREEZE_S:
        return _thaw(victim, faults, after_s=dice.uniform(*_FREEZE_S[kind]))
    await victim.kill()
    return _restart(victim, faults)


_KINDS = ("flush", "kill", "kill", "flush_and_kill")
_MORE_KINDS = ("freeze", "long_freeze", "postgres")
_FREEZE_S = {"freeze": (9.0, 14.0), "long_freeze": (21.0, 26.0)}
"""Longer than a job's lease in Redis; longer than it takes to be thought dead by the sweeper as well."""


def _victim(service: Service, faults: Faults, dice: random.Random) -> Process | None:
    """A worker that is up, leaving one."""
    up = [worker for worker in service.workers if worker.name not in faults.down]
    return dice.choice(up) if len(up) > 1 else None


async def _restart(victim: Process, faults: Faults) -> None:
    """As a process manager would: again, when PostgreSQL was away in that moment."""
    for _ in range(5):
        try:
            await victim.start()
        except RuntimeError:
            await asyncio.sleep(1)
        else:
            break
    faults.down.discard(victim.name)


async def _thaw(victim: Process, faults: Faults, *, after_s: float) -> None:
    await asyncio.sleep(after_s)
    victim.thaw()
    faults.down.discard(victim.name)


async def _let_commits_through(service: Service) -> None:
    """What a frozen worker had already asked of PostgreSQL is carried out before anybody looks."""
    await asyncio.sleep(0.2)
    async with service.third_party() as connection, asyncio.timeout(30):
        busy = set(await _busy_backends(connection))
        while busy & set(await _busy_backends(connection)):
            await asyncio.sleep(0.02)


async def _busy_backends(connection: Connection) -> list[tuple[int, datetime]]:
    rows = await connection.fetch(
        # One that waits for the frozen worker, or for a lock that it holds, would be waited for in vain.
        "SELECT pid, query_start FROM pg_stat_activity WHERE state = 'active' AND usename = 'smsblossom_app' "
        "AND coalesce(wait_event_type, '') NOT IN ('Lock', 'Client')"
    )
    return [(row["pid"], row["query_start"]) for row in rows]


async def _submitting(service: Service) -> set[str]:
    return {row.id for row in await _rows(service) if row.state == "submitting"}


async def _hold_reports(service: Service) -> None:
    """Withhold reports for so long that dead claims are found without their help, then let them come for a while."""
    while True:
        await service.turn(reports_paused=True)
        await asyncio.sleep(REPORTS_HELD_S)
        await service.turn(reports_paused=False)
        await asyncio.sleep(REPORTS_OPEN_S)


@asynccontextmanager
async def _watching(service: Service, faults: Faults) -> AsyncIterator[None]:
    """Keep every row that was `unknown` at any time, also when a report settled it later."""

    async def watch() -> None:
        while True:
            # PostgreSQL may be stopped while we look.
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                faults.ever_unknown |= {row.id: row.code for row in await _rows(service) if row.state == "unknown"}
            await asyncio.sleep(0.5)

    async with _beside(watch()):
        yield
        await asyncio.sleep(1)


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run this until the body ends; if it failed meanwhile, that is raised."""
    task = asyncio.create_task(work)
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


# ---- waiting


Check = Callable[[Connection], Coroutine[Any, Any, str | None]]


async def _left_after(service: Service, check: Check, *, idle_s: float = 60.0) -> list[str]:
    """Ask again and again until nothing is left to wait for; what is left when nothing has moved for `idle_s`.

    Not a limit on the whole: a busy machine may be slow, but it may not stand still.
    """
    last, moved_at = "", monotonic()
    async with service.third_party() as connection:
        while (left := await check(connection)) is not None:
            if left != last:
                last, moved_at = left, monotonic()
            elif monotonic() - moved_at > idle_s:
                return [left]
            await asyncio.sleep(0.2)
    return []


def _all_ended(orders: Orders) -> Check:
    """Every webhook is processed, every expected text has a row, and no row waits to be sent."""

    async def check(connection: Connection) -> str | None:
        waiting = await connection.fetchval(
            "SELECT count(*) FROM webhook_events WHERE state = 'received' AND topic LIKE 'orders/%'"
        )
        states = await connection.fetch("SELECT state, count(*) AS rows FROM messages GROUP BY state")
        found = {row["state"]: row["rows"] for row in states}
        left = sum(found.get(state, 0) for state in UNSETTLED)
        if waiting or left or sum(found.values()) < len(orders.expected):
            return f"{waiting} webhooks wait, {len(orders.expected)} texts expected, rows {found}"
        return None

    return check


def _all_reported(service: Service) -> Check:
    """Every report was posted, and every one that was stored is applied."""

    async def check(connection: Connection) -> str | None:
        posting = await service.reports_waiting()
        waiting = await connection.fetchval(
            "SELECT count(*) FROM webhook_events WHERE state = 'received' AND topic = 'mitto/dlr'"
        )
        sent = [UUID(text.reference) for text in service.ledger() if text.reference]
        open_rows = await connection.fetchval(
            "SELECT count(*) FROM messages WHERE id = ANY ($1) AND state <> 'delivered'", sent
        )
        if posting or waiting or open_rows:
            return f"{posting} reports to post, {waiting} to apply, {open_rows} texts of the ledger not delivered"
        return None

    return check


# ---- audit


async def _rows(service: Service) -> list[Row]:
    async with service.third_party() as connection:
        rows = await connection.fetch(
            "SELECT m.id::text, m.state, m.subject, a.key AS automation, m.error_code FROM messages m "
            "JOIN automations a ON a.shop_id = m.shop_id AND a.id = m.source_id"
        )
    return [Row(row["id"], row["state"], row["subject"], row["automation"], row["error_code"]) for row in rows]


async def _audit(service: Service, orders: Orders, faults: Faults) -> Audit:
    ledger, rows = service.ledger(), await _rows(service)
    async with service.third_party() as connection:
        events = await connection.fetch("SELECT DISTINCT message_id FROM message_events WHERE code = 'claim_too_old'")
    return compare(orders, faults, ledger, rows, given_back={str(event["message_id"]) for event in events})


def compare(
    orders: Orders, faults: Faults, ledger: Sequence[Text], rows: Sequence[Row], *, given_back: set[str]
) -> Audit:
    """Hold the three books against each other.

    `given_back`: a worker that is frozen between its claim's UPDATE and COMMIT shows nothing to the third party; when
    it thaws, the claim is old at birth, may be found dead, and is given back by its holder. Those may have been
    unknown, but must not be so at the end.
    """
    texts = Counter(_expected_of(text) for text in ledger)
    references = Counter(text.reference or "" for text in ledger)
    by_key = {(row.subject, row.automation): row for row in rows}
    row_of = {each: by_key.get((orders.subjects[each.order], each.automation)) for each in orders.expected}
    lacking = orders.expected - set(texts)
    unknown = {row.id: row.code for row in rows if row.state == "unknown"}
    ever_unknown = {**faults.ever_unknown, **unknown}
    allowed = {row.id for each, row in row_of.items() if row is not None and each.ending in UNKNOWABLE}
    allowed |= faults.submitting
    return Audit(
        expected=len(orders.expected),
        in_ledger=len(ledger),
        doubled_texts=_several(texts),
        doubled_references=_several(references),
        unasked_for=set(texts) - orders.expected,
        lacking=len(lacking),
        lacking_not_unknown={each: _state(row_of[each]) for each in lacking if _state(row_of[each]) != "unknown"},
        claimed_but_lacking={row.id for row in rows if row.state in _SENT and row.id not in references},
        unknown=set(unknown),
        unknown_without_cause={
            each: why
            for each, why in ever_unknown.items()
            if each not in allowed and (each in unknown or each not in given_back)
        },
        allowed_unknown=len(allowed),
        states=dict(Counter(row.state for row in rows)),
    )


_SENT = frozenset({"accepted", "sent", "delivered"})


def _state(row: Row | None) -> str:
    return "no row" if row is None else row.state


def _several(counted: Counter[Any]) -> dict[Any, int]:
    return {what: count for what, count in counted.items() if count > 1}


def _expected_of(text: Text) -> Expected:
    """Which text this is, by its words alone."""
    name = _NAME.search(text.text)
    paid = "payment received" in text.text
    return Expected(name[1] if name else "", PAID if paid else CREATED, text.to)


def broken_promises(run: Once) -> list[str]:
    """Everything that breaks a promise, one line a kind with a few examples; must be empty."""
    found: dict[str, Collection[Any]] = {
        "stuck": run.stuck,
        "unknown but in the ledger after the reports": run.unknown_but_in_ledger,
        "in the ledger and not delivered after the reports": run.not_delivered,
    }
    for when, audit in (("before reports", run.audit), ("after reports", run.after_reports)):
        found |= {
            f"texts sent twice, {when}": audit.doubled_texts,
            f"references used twice, {when}": audit.doubled_references,
            f"texts nobody asked for, {when}": audit.unasked_for,
            f"not in the ledger and not unknown, {when}": audit.lacking_not_unknown,
            f"said to be sent and not in the ledger, {when}": audit.claimed_but_lacking,
            f"unknown without a cause, {when}": audit.unknown_without_cause,
        }
    lines = [f"{name}: {len(what)}, such as {_some(what)}" for name, what in found.items() if what]
    if len(run.audit.unknown) > run.audit.allowed_unknown:
        lines.append(f"unknown: {len(run.audit.unknown)}, allowed: {run.audit.allowed_unknown}")
    return lines


def _some(what: Collection[Any]) -> list[Any]:
    return list(islice(what.items() if isinstance(what, Mapping) else what, 3))
