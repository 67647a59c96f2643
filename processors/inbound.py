"""`inbound:handle`: a text that somebody sent us. Critical: a STOP must win against a text about to leave."""

from processors import redriven
from smsblossom import jobs
from smsblossom.bootstrap import Runtime
from smsblossom.queue.registry import processor
from smsblossom.usecases import settle


@processor(jobs.HandleInbound)
@redriven.by_the_sweeper
async def handle(runtime: Runtime, job: jobs.HandleInbound) -> None:
    await settle.handle_inbound(runtime, job.event_id)
