"""`automations:evaluate`: judge the runs that one event started."""

from processors import redriven
from smsblossom import jobs
from smsblossom.bootstrap import Runtime
from smsblossom.queue.registry import processor
from smsblossom.usecases import evaluate as usecase


@processor(jobs.EvaluateAutomations)
@redriven.by_the_sweeper
async def evaluate(runtime: Runtime, job: jobs.EvaluateAutomations) -> None:
    await usecase.evaluate(runtime, job.shop_id, job.context)
