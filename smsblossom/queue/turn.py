"""What a worker says to cycle.lua and what it hears back."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from smsblossom.jobs import Priority
from smsblossom.queue import keys
from smsblossom.queue.topology import HEAD_STARTS, GroupLimit, QueuePlan, Rate, to_ms


class TurnPlan(msgspec.Struct):
    """How to claim. Milliseconds; `want` slots are free, of them `general` for jobs of the plain lane."""

    lease: int
    budget: int
    worker: str = ""
    want: int = 0
    general: int = 0
    head: int = 0
    keep: int = 0
    counts: bool = False
    aborts: bool = False
    groups: dict[str, dict[str, float]] = {}
    guard: str | None = None
    rate: dict[str, float] | None = None
    fleet: int | None = None


def turn_plan(plan: QueuePlan | None, *, lease_in: timedelta, budget: int) -> TurnPlan:
    """What stays the same from turn to turn. Without a plan: a stock worker's, which leaves no keys of ours behind."""
    if plan is None:
        return TurnPlan(lease=to_ms(lease_in), budget=budget)
    return TurnPlan(
        lease=to_ms(lease_in),
        budget=budget,
        head=to_ms(HEAD_STARTS[Priority.NORMAL]),
        keep=to_ms(plan.keep_result_in),
        counts=True,
        groups=_group_fields(plan.groups),
        guard=keys.GUARD,
        rate=_rate_fields(plan.rate),
        fleet=plan.fleet_concurrency,
    )


def _rate_fields(rate: Rate | None) -> dict[str, float] | None:
    return None if rate is None else {"count": rate.count, "per": rate.per.total_seconds() * 1000}


def _group_fields(groups: Mapping[str, GroupLimit]) -> dict[str, dict[str, float]]:
    fields: dict[str, dict[str, float]] = {}
    for kind, limit in groups.items():
        fields[kind] = dict(_rate_fields(limit.rate) or {})
        if limit.concurrency is not None:
            fields[kind]["slots"] = limit.concurrency
    return fields


class Endings:
    """The endings that wait for the next turn."""

    __slots__ = ("others", "results", "well")

    def __init__(self) -> None:
        self.well: dict[str, list[str]] = {}
        self.results: list[Any] = []
        self.others: list[Any] = []

    def __bool__(self) -> bool:
        return bool(self.well or self.others)

    def add_well(self, job_id: str, owner: str) -> None:
        ids = self.well.get(owner)
        if ids is None:
            self.well[owner] = [job_id]
        else:
            ids.append(job_id)

    def add_result(self, job_id: str, keep_ms: int, data: bytes) -> None:
        """Keep the result for `keep_ms`; 0 keeps it for ever."""
        self.results += (job_id, keep_ms, data)

    def add_other(
        self, job_id: str, owner: str, verb: str, *, number: int = 0, text: str = "", data: bytes = b""
    ) -> None:
        """An ending by one of the verbs of cycle.lua."""
        self.others += (job_id, owner, verb, number, text, data)

    def merge_before(self, later: "Endings") -> None:
        """Put `later` behind these, after a turn that may not have arrived. Writing an ending twice does no harm."""
        for owner, ids in later.well.items():
            self.well.setdefault(owner, []).extend(ids)
        self.results += later.results
        self.others += later.others

    def owners(self) -> set[str]:
        """The claims these endings belong to."""
        return {*self.well, *self.others[1::6]}

    def arguments(self, plan: bytes) -> list[Any]:
        well = msgspec.msgpack.encode(self.well) if self.well else b""
        return [well, plan, len(self.results) // 3, *self.results, *self.others]


Claimed = tuple[str, bytes, bytes | None, int]
"""Of a claimed job: id, score, data (None when it is gone), attempts so far."""


class TurnReply(msgspec.Struct, frozen=True):
    """What cycle.lua answered. `marks` are the jobs somebody told to stop, and when."""

    now_ms: int
    due_ms: int
    again: bool
    lost: list[bytes]
    marks: dict[str, int]
    jobs: list[Claimed]
    reserved: frozenset[str]
    stalls: dict[str, int]


_NOBODY: frozenset[str] = frozenset()


def read_reply(reply: Sequence[Any]) -> TurnReply:
    now_ms, due_ms, again, lost, marks, ids, scores, data, reserved, stalls = reply
    return TurnReply(
        now_ms,
        due_ms,
        bool(again),
        lost,
        {marks[i].decode(): int(float(marks[i + 1])) for i in range(0, len(marks), 2)} if marks else {},
        [(ids[i].decode(), scores[i], data[2 * i], int(data[2 * i + 1] or 0)) for i in range(len(ids))],
        frozenset(job_id.decode() for job_id in reserved) if reserved else _NOBODY,
        {stalls[i].decode(): stalls[i + 1] for i in range(0, len(stalls), 2)} if stalls else {},
    )
