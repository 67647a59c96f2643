"""Metrics of all processes, gathered in Redis: each publishes its own, any web process serves the sums.

A process that stopped or died leaves its last figures behind. Whoever finds them stale takes them over into what it
publishes itself, so that a counter never falls because a worker was replaced.
"""

import os
import resource
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import redis.asyncio
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from smsblossom.queue.connection import within_a_second

BOARD: Final = "smsblossom:metrics"
STALE_AFTER_S: Final = 60.0
_SUMMED: Final = frozenset({"counter", "histogram"})


class Sample(msgspec.Struct, frozen=True):
    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Family(msgspec.Struct):
    """One metric with all its samples."""

    name: str
    kind: str
    help: str
    samples: list[Sample]


class Vitals(msgspec.Struct, frozen=True):
    """One process: its memory now, its processor time since it began, and how long ago that was."""

    pid: int
    rss_bytes: int
    cpu_s: float
    up_s: float


class Gathered(msgspec.Struct, frozen=True):
    """The sums over all processes, and the processes that have been heard of within a minute, by their ids."""

    families: list[Family]
    processes: dict[str, Vitals]


class _Page(msgspec.Struct):
    """What one process has on the board. `at` is Redis's own clock, in seconds."""

    at: float
    families: list[Family]
    vitals: Vitals | None = None


_page_codec: Final = msgspec.msgpack.Decoder(_Page)


class MetricsBoard:
    """One process's place on the board."""

    def __init__(self, client: "redis.asyncio.Redis", registry: CollectorRegistry, process_id: UUID) -> None:
        self._redis = client
        self._registry = registry
        self._field = str(process_id)
        self._inherited: list[Family] = []

    async def publish(self) -> None:
        """Put this process's figures on the board, and take over those of the dead.

        Raises:
            QueueUnavailable: Redis does not answer; the next call publishes everything.

        """
        async with within_a_second():
            now = await self._now()
            pages = await self._pages()
            for field, page in pages.items():
                if field != self._field and now - page.at > STALE_AFTER_S and await self._call("HDEL", BOARD, field):
                    self._inherited = merged([self._inherited, page.families])
            page = _Page(now, self._own(), vitals())
            await self._call("HSET", BOARD, self._field, msgspec.msgpack.encode(page))

    async def gathered(self) -> list[Family]:
        """The sums over all processes, this one's figures being those of this moment. Raises as `publish`."""
        async with within_a_second():
            pages = await self._pages()
        pages.pop(self._field, None)
        return merged([self._own(), *(page.families for page in pages.values())])

    async def everything(self) -> Gathered:
        """As `gathered`, with the processes. Raises as `publish`."""
        async with within_a_second():
            now = await self._now()
            pages = await self._pages()
        pages.pop(self._field, None)
        living = {
            field: page.vitals
            for field, page in pages.items()
            if page.vitals is not None and now - page.at <= STALE_AFTER_S
        }
        sums = merged([self._own(), *(page.families for page in pages.values())])
        return Gathered(sums, {self._field: vitals(), **living})

    def own(self) -> list[Family]:
        """What this process alone has counted, for when Redis is away."""
        return self._own()

    def _own(self) -> list[Family]:
        return merged([families(self._registry), self._inherited])

    async def _now(self) -> float:
        seconds, microseconds = await self._redis.time()
        return float(seconds) + float(microseconds) / 1e6

    async def _pages(self) -> dict[str, _Page]:
        raw = await self._call("HGETALL", BOARD)
        return {field.decode(): _page_codec.decode(page) for field, page in raw.items()}

    async def _call(self, *words: str | bytes) -> Any:
        return await self._redis.execute_command(*words)  # type: ignore[no-untyped-call]


_BEGAN: Final = time.monotonic()


def vitals() -> Vitals:
    """Those of the calling process, as the operating system tells them."""
    return Vitals(os.getpid(), _rss_bytes(), round(time.process_time(), 3), round(time.monotonic() - _BEGAN, 3))


def _rss_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:  # not Linux: the most it has ever been
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def families(registry: CollectorRegistry) -> list[Family]:
    """Counters and histograms of a registry. Gauges are of one process and are served by whoever computes them."""
    return [
        Family(
            metric.name,
            metric.type,
            metric.documentation,
            [
                Sample(sample.name, tuple(sorted(sample.labels.items())), sample.value)
                for sample in metric.samples
                if not sample.name.endswith("_created")
            ],
        )
        for metric in registry.collect()
        if metric.type in _SUMMED
    ]


def merged(parts: Iterable[list[Family]]) -> list[Family]:
    """Families of the same name added up, sample by sample."""
    found: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for part in parts:
        for family in part:
            found.setdefault(family.name, family)
            sums = values.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, sample.labels)
                sums[key] = sums.get(key, 0.0) + sample.value
    return [
        Family(name, family.kind, family.help, [Sample(*key, value) for key, value in values[name].items()])
        for name, family in found.items()
    ]


class GatheredCollector(Collector):
    """The gathered families, as Prometheus's exposition wants them."""

    def __init__(self, gathered: list[Family]) -> None:
        self._gathered = gathered

    def collect(self) -> Iterator[Metric]:
        for family in self._gathered:
            metric = Metric(family.name, family.help, family.kind)
            for sample in family.samples:
                metric.add_sample(sample.name, dict(sample.labels), sample.value)
            yield metric
