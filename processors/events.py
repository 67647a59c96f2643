"""`events:process`: an inbox row, whatever its topic."""

from processors.topics import HANDLERS
from smsblossom import jobs
from smsblossom.bootstrap import Runtime
from smsblossom.queue.registry import processor
from smsblossom.usecases import intake


@processor(jobs.ProcessEvent)
async def process(runtime: Runtime, job: jobs.ProcessEvent) -> None:
    await intake.process(runtime, job.shop_id, job.event_id, HANDLERS)
