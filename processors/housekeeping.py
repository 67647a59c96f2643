"""`housekeeping:run`: upkeep, by type."""

from smsblossom import jobs
from smsblossom.bootstrap import Runtime
from smsblossom.queue.outcomes import Permanent
from smsblossom.queue.registry import processor
from smsblossom.usecases import audit, dead_letters, purge, sweep


@processor(jobs.RunHousekeeping)
async def run(runtime: Runtime, job: jobs.RunHousekeeping) -> object:
    match job.type:
        case "sweep" | "settle":
            return await sweep.sweep(runtime)
        case "expire":
            return await dead_letters.expire(runtime)
        case "redrive":
            return await dead_letters.redrive_automatically(runtime)
        case "audit_cleanup":
            return await audit.clean(runtime)
        case "purge":
            return await purge.purge(runtime)
        case _:
            raise Permanent(f"housekeeping has no type {job.type!r}; known: {', '.join(TYPES)}")


TYPES = ("sweep", "settle", "expire", "redrive", "audit_cleanup", "purge")
