"""The ingest bench: our receiver, a bare handler and a row per request, interleaved; then webhook to provider.

python -m ops.bench.ingest. Each measurement is a web process of its own on emptied servers, driven by the same client
over 64 keep-alive connections with 12 KB bodies; the figures are medians over the rounds. With JSON in the
environment they are also written to that path. The bars of the issue decide the exit code.

Wall-clock figures on a machine that does other work are worth little; the CPU per webhook beside them is steadier.
"""

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from ops.bench import path
from ops.bench.client import Load
from ops.bench.servers import SECRET, Bench, BenchFailed, Running, bench, cpu_s, module, output_of, running, service
from smsblossom.settings import environment

CONNECTIONS: Final = 64
ROUNDS: Final = 5
SECONDS: Final = 3.0
PATH_ROUND_S: Final = 4.0
CLIENT_HEADROOM: Final = 1.5
"""The client alone must be able to ask this many times faster than the fastest server here answers."""
BUSIEST_CLIENT: Final = 0.8
"""Of one core. A client near one core would measure itself."""
BARS: Final = {"ours/bare": 0.45, "ours/rows": 1.8}
SERVERS: Final = {
    "bare": module("ops.bench.naive", "bare"),
    "ours": service("serve", "--port", "0"),
    "rows": module("ops.bench.naive", "rows"),
}


class Measured(msgspec.Struct, kw_only=True):
    load: Load
    cpu_us: float
    """The web process's CPU per webhook."""


Rounds = dict[str, list[Measured]]


async def measure(made: Bench, name: str, command: Sequence[str], *, seed: int) -> Measured:
    """One server under load, from empty servers on.

    Raises:
        BenchFailed: a refusal, an answered webhook without its row or its job, or a client that was too busy.

    """
    await made.empty()
    async with running(made, *command, name=name) as web:
        before = cpu_s(web.pid)
        load = await _drive(made, web, seed=seed)
        cpu_us = (cpu_s(web.pid) - before) / load.answers * 1e6
        if name in {"ours", "rows"}:
            await _refuse_losses(made, load.answers)
    if load.refused:
        raise BenchFailed(f"{name}: {load.refused} of {load.answers} webhooks were not answered 200")
    if load.cpu_share > BUSIEST_CLIENT and name != "trivial":
        raise BenchFailed(f"{name}: the client itself took {load.cpu_share:.0%} of a core and is the bottleneck")
    return Measured(load=load, cpu_us=cpu_us)


async def _drive(made: Bench, web: Running, *, seed: int) -> Load:
    client = module("ops.bench.client", "--port", str(web.port), "--secret", SECRET, "--seed", str(seed))
    options = ("--connections", str(CONNECTIONS), "--seconds", str(SECONDS))
    return msgspec.json.decode(await output_of(made, *client, *options), type=Load)


async def _refuse_losses(made: Bench, answers: int) -> None:
    """Every answered webhook is a row at once and, a moment later, a job."""
    rows = await made.count("SELECT count(*) FROM webhook_events")
    if rows != answers:
        raise BenchFailed(f"{answers} webhooks were answered 200, {rows} rows are there")
    jobs = 0
    for _ in range(40):
        if (jobs := await made.queued("events")) == rows:
            return
        await asyncio.sleep(0.05)
    raise BenchFailed(f"{rows} rows are there, {jobs} jobs")


async def measure_ingest(made: Bench, rounds: int) -> Rounds:
    ceiling = await measure(made, "trivial", module("ops.bench.naive", "trivial"), seed=0)
    print(f"client alone {ceiling.load.per_s:8,.0f}/s  client CPU {ceiling.load.cpu_us:4.0f} µs")
    found: Rounds = {name: [] for name in SERVERS}
    for number in range(1, rounds + 1):
        for name, command in SERVERS.items():
            one = await measure(made, name, command, seed=number)
            found[name].append(one)
            print(
                f"round {number}/{rounds} {name:5} {one.load.per_s:7,.0f}/s  p50 {one.load.p50_ms:6.1f} ms"
                f"  p99 {one.load.p99_ms:6.1f} ms  web CPU {one.cpu_us:4.0f} µs  client CPU {one.load.cpu_us:3.0f} µs"
                f" ({one.load.cpu_share:.0%} of a core)",
                flush=True,
            )
    fastest = _median(found, "bare")
    if ceiling.load.per_s < CLIENT_HEADROOM * fastest:
        raise BenchFailed(f"the client is the bottleneck: alone {ceiling.load.per_s:,.0f}/s, bare {fastest:,.0f}/s")
    return found


async def measure_path(made: Bench, rounds: int) -> dict[str, float]:
    found = []
    async with path.path(made) as (web, mitto):
        for number in range(rounds):
            milliseconds = await path.measure(
                web, mitto, first=number * int(path.PER_S * PATH_ROUND_S), seconds=PATH_ROUND_S
            )
            p50, p99 = path.percentiles(milliseconds)
            print(
                f"round {number + 1}/{rounds} path  p50 {p50:6.1f} ms  p99 {p99:6.1f} ms  at {path.PER_S}/s", flush=True
            )
            found.append((p50, p99))
    return {
        "p50": round(statistics.median(p50 for p50, _ in found), 2),
        "p99": round(statistics.median(p99 for _, p99 in found), 2),
    }


def figures(found: Rounds) -> dict[str, float]:
    ours = [one.load for one in found["ours"]]
    return {
        "ours_per_s": round(_median(found, "ours"), 1),
        "bare_handler_per_s": round(_median(found, "bare"), 1),
        "row_per_request_per_s": round(_median(found, "rows"), 1),
        "p50_ms": round(statistics.median(load.p50_ms for load in ours), 2),
        "p99_ms": round(statistics.median(load.p99_ms for load in ours), 2),
    }


def ratios(found: Rounds) -> dict[str, float]:
    """Medians of the ratios within each round, where both sides met the same weather."""
    return {
        pair: statistics.median(a.load.per_s / b.load.per_s for a, b in zip(*_sides(found, pair), strict=True))
        for pair in BARS
    }


def cpu_ratios(found: Rounds) -> dict[str, float]:
    """The same by web CPU per webhook: how many of ours one core does for each of theirs."""
    return {
        pair: statistics.median(
            b.cpu_us / a.cpu_us if a.cpu_us else 0.0 for a, b in zip(*_sides(found, pair), strict=True)
        )
        for pair in BARS
    }


def _sides(found: Rounds, pair: str) -> tuple[list[Measured], list[Measured]]:
    mine, theirs = pair.split("/")
    return found[mine], found[theirs]


def _median(found: Rounds, name: str) -> float:
    return statistics.median(one.load.per_s for one in found[name])


async def run(rounds: int, report: Path | None) -> int:
    async with bench() as made:
        found = await measure_ingest(made, rounds)
        result: dict[str, Any] = {"ingest": figures(found), "path_ms": await measure_path(made, rounds)}
    reached, by_cpu = ratios(found), cpu_ratios(found)
    print(json.dumps(result, indent=2))
    for pair, bar in BARS.items():
        verdict = "reached" if reached[pair] >= bar else "MISSED"
        print(f"{pair}: {reached[pair]:.2f} (bar {bar}: {verdict}); by web CPU per webhook {by_cpu[pair]:.2f}")
    if report is not None:
        await asyncio.to_thread(report.write_text, json.dumps(result, indent=2) + "\n")
    return 0 if all(reached[pair] >= bar for pair, bar in BARS.items()) else 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.ingest", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    named = environment().get("JSON")
    try:
        code = asyncio.run(run(rounds, Path(named) if named else None))
    except BenchFailed as problem:
        sys.exit(f"bench: {problem}")
    sys.exit(code)


if __name__ == "__main__":
    main()
