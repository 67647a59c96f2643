"""`receipts:apply`: stored delivery reports, in batches."""

from smsblossom import jobs
from smsblossom.bootstrap import Runtime
from smsblossom.queue.registry import processor
from smsblossom.usecases import settle


@processor(jobs.ApplyReceipts)
async def apply(runtime: Runtime, job: jobs.ApplyReceipts) -> None:
    await settle.apply_receipts(runtime, job.event_ids)
