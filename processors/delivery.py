"""`delivery:send`: submit one ledger row."""

from processors import redriven
from smsblossom import jobs
from smsblossom.bootstrap import Runtime
from smsblossom.queue.registry import processor
from smsblossom.usecases import deliver


@processor(jobs.SendMessage)
@redriven.by_the_sweeper
async def send(runtime: Runtime, job: jobs.SendMessage) -> None:
    await deliver.deliver(runtime, job.shop_id, job.message_id)
