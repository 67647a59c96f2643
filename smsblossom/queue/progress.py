"""A running job says how far it is."""

from smsblossom.queue.run import current_run


async def report_progress(fraction: float, note: str = "") -> None:
    """Store how much of the running job is done (0 to 1) and a word on it, for `get_job`.

    Outside a job, or when Redis is not reachable, nothing happens: progress is a courtesy. No personal data in `note`.
    """
    run = current_run()
    if run is not None and run.report is not None:
        await run.report(run, fraction, note)
