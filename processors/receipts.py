"""`receipts:apply`: stored delivery reports, in batches."""

from processors import redriven
from smsblossom import jobs
from smsblossom.bootstrap import Runtime
from smsblossom.queue.registry import processor
from smsblossom.usecases import settle


@processor(jobs.ApplyReceipts)
@redriven.by_the_sweeper
async def apply(runtime: Runtime, job: jobs.ApplyReceipts) -> None:
    await settle.apply_receipts(runtime, job.event_ids)
