"""`events:process`: an inbox row, whatever its topic."""

from processors import redriven
from processors.topics import HANDLERS
from smsblossom import jobs
from smsblossom.bootstrap import Runtime
from smsblossom.queue.registry import processor
from smsblossom.usecases import intake


@processor(jobs.ProcessEvent)
@redriven.by_the_sweeper
async def process(runtime: Runtime, job: jobs.ProcessEvent) -> None:
    await intake.process(runtime, job.shop_id, job.event_id, HANDLERS)
