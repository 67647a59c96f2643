"""`housekeeping:run`: upkeep, by type."""

from smsblossom import jobs
from smsblossom.bootstrap import Runtime
from smsblossom.queue.outcomes import Permanent
from smsblossom.queue.registry import processor
from smsblossom.usecases import sweep


@processor(jobs.RunHousekeeping)
async def run(runtime: Runtime, job: jobs.RunHousekeeping) -> object:
    match job.type:
        case "sweep" | "settle":
            return await sweep.sweep(runtime)
        case _:
            raise Permanent(f"housekeeping has no type {job.type!r}; known: sweep, settle")
