"""Everything about the fake Mitto that can be turned while it runs, and the dice that faults are thrown with."""

from __future__ import annotations

import random
from typing import Any, Literal

import msgspec

Fault = Literal["401", "429", "500-before", "500-after", "hang", "slow", "reset", "garbage"]


class Knobs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /control` takes any of these fields and answers with all of them.

    Faults are shares of calls by kind, at most 1 together, drawn by `seed`. 401, 429 and 500-before accept nothing;
    500-after, hang, slow, reset (connection cut) and garbage (200 with a broken body) accept first. `hang` makes every
    call hang. `shuffle_ms` adds up to that much to each report's delay, so that they arrive out of order.
    """

    latency_ms: float = 0.0
    report_delay_ms: float = 50.0
    late_report_ms: float = 2_000.0
    hang: bool = False
    hang_max_ms: float = 120_000.0
    slow_ms: float = 30_000.0
    faults: dict[Fault, float] = {}
    seed: int = 0
    text_length: Literal["int", "string", "mixed"] = "mixed"
    dlr_url: str | None = None
    inbound_url: str | None = None
    callback_method: Literal["get", "form", "json", "array"] = "json"
    callback_names: Literal["short", "long", "pascal", "by_api"] = "by_api"
    callback_headers: dict[str, str] = {}
    reports_paused: bool = False
    report_tries: int = 60
    sent_reports: bool = False
    undelivered_rate: float = 0.0
    duplicate_rate: float = 0.0
    shuffle_ms: float = 0.0

    def turned(self, changes: dict[str, Any]) -> Knobs:
        """These knobs with some changed; msgspec.ValidationError names a field that is unknown or of a wrong type."""
        return msgspec.convert({**msgspec.structs.asdict(self), **changes}, Knobs)


class Dice:
    """One seeded sequence for call faults and another for reports, so that the one does not disturb the other."""

    def __init__(self, seed: int) -> None:
        self._calls = random.Random(f"{seed}:calls")
        self._reports = random.Random(f"{seed}:reports")

    def fault(self, knobs: Knobs) -> Fault | None:
        """The fault of the next call; one draw per call, whatever the rates are."""
        draw = self._calls.random()
        for kind, share in sorted(knobs.faults.items()):
            if draw < share:
                return kind
            draw -= share
        return "hang" if knobs.hang else None

    def happens(self, share: float) -> bool:
        return share > 0 and self._reports.random() < share

    def shuffle_ms(self, knobs: Knobs) -> float:
        return self._reports.random() * knobs.shuffle_ms if knobs.shuffle_ms else 0.0
