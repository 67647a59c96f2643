"""`smsblossom worker`: run the queues, the sweeper, the ticker and the heartbeat of one process."""

import asyncio
from collections.abc import Sequence

import click
import structlog

import processors
from smsblossom import settings as settings_module
from smsblossom.bootstrap import Runtime, open_runtime
from smsblossom.cli import process
from smsblossom.cli.heartbeat import beating
from smsblossom.domain import jurisdictions
from smsblossom.jobs import QueueName
from smsblossom.queue import registry
from smsblossom.queue.topology import TOPOLOGY, Topology, with_overrides
from smsblossom.queue.worker import run_worker
from smsblossom.settings import Settings
from smsblossom.telemetry import Metrics
from smsblossom.usecases import audit, sweep, telling, ticker
from smsblossom.usecases.bury import DeadLetterStore

log = structlog.get_logger()


@click.command()
@click.option(
    "--queue",
    "queues",
    multiple=True,
    type=click.Choice([queue.value for queue in QueueName]),
    help="Serve only this queue; may be given several times. All five otherwise.",
)
def worker(queues: tuple[str, ...]) -> None:
    """Run the queues.

    SIGTERM finishes what runs and gives the rest back; a second one stops at once and still loses nothing.
    """
    settings = settings_module.load()
    served = [QueueName(queue) for queue in queues] or list(QueueName)
    metrics = Metrics()

    async def body(stop: asyncio.Event, halt: asyncio.Event) -> None:
        async with open_runtime(settings, pool_size=pool_size(settings), metrics=metrics) as runtime:
            await work(runtime, served, stop, halt)

    process.run(settings, body, metrics)


async def work(runtime: Runtime, queues: Sequence[QueueName], stop: asyncio.Event, halt: asyncio.Event) -> None:
    """Serve these queues until `stop`, with sweeper and ticker beside them where housekeeping is served."""
    year = runtime.now().year
    await asyncio.to_thread(jurisdictions.prepare, [year, year + 1])
    await sweep.hold_after_restore(runtime)
    async with beating(runtime, kind="worker", queues=queues), telling.publishing(runtime), audit.replaying(runtime):
        upkeep = _upkeep(runtime) if QueueName.HOUSEKEEPING in queues else []
        log.info("worker.ready", queues=[str(queue) for queue in queues], functions=len(processors.__all__))
        try:
            await run_worker(
                runtime,
                queues,
                redis_url=runtime.settings.redis_url,
                registry=registry.DEFAULT,
                stop=stop,
                halt=halt,
                topology=topology(runtime.settings),
                dead_letters=DeadLetterStore(runtime),
                events=telling.MeasuredEvents(runtime.metrics),
            )
        finally:
            for task in upkeep:
                task.cancel()
            await asyncio.gather(*upkeep, return_exceptions=True)
        log.info("worker.stopped")


def _upkeep(runtime: Runtime) -> list[asyncio.Task[None]]:
    return [
        asyncio.create_task(_sweep(runtime), name="sweeper"),
        asyncio.create_task(ticker.run(runtime, registry.DEFAULT), name="ticker"),
    ]


async def _sweep(runtime: Runtime) -> None:
    """At the start and every few seconds; a failed round is told and the next one comes."""
    while True:
        try:
            await sweep.sweep(runtime)
        except Exception:
            log.exception("sweeper.failed")
            runtime.metrics.loop_errors.labels(where="sweeper").inc()
        await asyncio.sleep(sweep.EVERY_S)


def topology(settings: Settings) -> Topology:
    delivery = {"concurrency": settings.delivery_concurrency, "reserved": settings.delivery_reserved}
    return with_overrides(TOPOLOGY, {QueueName.DELIVERY: delivery})


def pool_size(settings: Settings) -> int:
    """Connections for one worker: its jobs hold one only while they read or write."""
    return 10 + settings.delivery_concurrency // 4
