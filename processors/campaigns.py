"""`campaigns:batch`: the queue has its worker; campaigns themselves are not built yet, and it says so."""

from smsblossom import jobs
from smsblossom.bootstrap import Runtime
from smsblossom.queue.outcomes import Permanent
from smsblossom.queue.registry import processor


@processor(jobs.RunCampaignBatch)
async def batch(_runtime: Runtime, job: jobs.RunCampaignBatch) -> None:
    raise Permanent(f"campaign {job.campaign_id}: this release has no campaigns; nothing was sent")
