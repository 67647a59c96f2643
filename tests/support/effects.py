"""A worker process whose jobs leave a line in a file. python effects.py REDIS_URL FILE WORKER_ID: runs until killed."""

import asyncio
import os
import sys
from datetime import timedelta
from typing import Any

import uvloop

from smsblossom import jobs
from smsblossom.jobs import QueueName
from smsblossom.queue.outcomes import Retryable
from smsblossom.queue.registry import Registry
from smsblossom.queue.run import current_run
from smsblossom.queue.topology import TOPOLOGY, GroupLimit, RetryPolicy, with_overrides
from smsblossom.queue.worker import WorkerGroup


class Silence:
    def __getattr__(self, _name: str) -> Any:
        return lambda *_args, **_facts: None


def registry_for(effects: int) -> Registry:
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, job: jobs.ProcessEvent) -> None:
        run = current_run()
        assert run is not None
        if job.topic == "slow":
            await asyncio.sleep(0.05)
        if job.topic == "flaky" and run.attempt == 1:
            raise Retryable("once", after=timedelta(milliseconds=200))
        os.write(effects, f"{run.job_id}\n".encode())
        await asyncio.sleep(0)

    return registry


async def main(redis_url: str, path: str, worker_id: str) -> None:
    effects = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    plan = {
        "concurrency": 50,
        "retries": RetryPolicy(waits=(timedelta(milliseconds=100),) * 20, jitter=0.2),
        "groups": {"shop": GroupLimit(concurrency=10)},
        "keep_result_in": timedelta(0),
    }
    topology = with_overrides(TOPOLOGY, {QueueName.EVENTS: plan})
    group = WorkerGroup(
        None,
        [QueueName.EVENTS],
        redis_url=redis_url,
        registry=registry_for(effects),
        topology=topology,
        events=Silence(),  # type: ignore[arg-type]
        worker_id=worker_id,
        stall_limit=1_000,
    )
    await group.run()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:4]))
