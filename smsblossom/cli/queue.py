"""`smsblossom queue`: how the queues stand, and what may be done to them and their jobs."""

import asyncio
from datetime import datetime
from typing import Final

import click

from smsblossom.api.schemas import JobPage, JobStatus, Queues, queue_of, status_of
from smsblossom.bootstrap import Runtime
from smsblossom.cli import options, queue_control, queue_dead, queue_options, session, show
from smsblossom.jobs import QueueName
from smsblossom.queue.control import QueueStats
from smsblossom.queue.jobinfo import JobState
from smsblossom.usecases import queues

_COLUMNS: Final = ("queue", "workers", "waiting", "active", "delayed", "completed", "failed", "dead", "oldest", "state")
_WATCH_EVERY_S: Final = 1.0


@click.group()
def queue() -> None:
    """How the queues stand, and what may be done to them.

    The queues are events, automations, campaigns, delivery and housekeeping. Every change is in the audit log.

    \b
    smsblossom queue stats --watch                           all queues, again every second
    smsblossom queue jobs events --state failed              what fails
    smsblossom queue job 0193d3a0-7c2e-7f10-8a54-0d6a5f0e9c11   one job: state, progress, result or error
    smsblossom queue pause delivery                          start no text until: smsblossom queue resume delivery
    smsblossom queue retry events --all                      try all failed jobs again, now
    smsblossom queue dead list                               jobs that used up their tries
    """  # noqa: D301  click's mark of a paragraph that it must not wrap


@queue.command()
@click.argument("queue_name", metavar="[QUEUE]", type=queue_options.QUEUE, required=False)
@click.option("--watch", is_flag=True, help="Stay, and look again every second. Ctrl-C ends it.")
@options.as_json
def stats(queue_name: QueueName | None, *, watch: bool, as_json: bool) -> None:
    """How one queue stands, or all of them.

    Jobs by state, how long the oldest due job has waited, and how many workers are alive. Failed jobs wait for their
    next attempt or were aborted; dead ones used up their tries: see smsblossom queue dead list.

    \b
    smsblossom queue stats
    smsblossom queue stats delivery --json
    smsblossom queue stats --watch
    """  # noqa: D301
    names = (queue_name,) if queue_name else tuple(QueueName)

    async def body(runtime: Runtime) -> None:
        while True:
            found = await queues.stats(runtime, names)
            if watch and not as_json:
                click.clear()
            _show_stats(found, as_json=as_json, in_a_line=watch)
            if not watch:
                return
            await asyncio.sleep(_WATCH_EVERY_S)

    session.ask(body)


def _show_stats(found: list[QueueStats], *, as_json: bool, in_a_line: bool) -> None:
    if as_json:
        (show.json_line if in_a_line else show.json)(Queues([queue_of(each) for each in found]))
        return
    show.rows(_COLUMNS, [_stats_line(each) for each in found], empty="")


def _stats_line(each: QueueStats) -> tuple[str, ...]:
    counts = (each.waiting, each.active, each.delayed, each.completed, each.failed, each.dead)
    state = "paused" if each.is_paused else ("ok" if each.workers else "fail: no worker")
    oldest = f"{each.oldest.total_seconds():.1f} s" if each.waiting else ""
    return (each.queue, str(len(each.workers)), *(f"{count:,}" for count in counts), oldest, state)


@queue.command()
@queue_options.job
@click.option(
    "--queue", "queue_name", type=queue_options.QUEUE, metavar="QUEUE", help="Look only there; everywhere else."
)
@options.as_json
def job(job_id: str, queue_name: QueueName | None, *, as_json: bool) -> None:
    """One job: its state, progress, attempts, times, and its result or error.

    A finished job is known for as long as its queue keeps results (10 minutes), a dead one as long as its dead letter.

    \b
    smsblossom queue job 0193d3a0-7c2e-7f10-8a54-0d6a5f0e9c11
    smsblossom queue job event:0193d3a0-7c2e-7f10-8a54-0d6a5f0e9c11 --queue events --json
    """  # noqa: D301
    found = status_of(session.ask(lambda runtime: queues.find_job(runtime, job_id, queue_name)))
    if as_json:
        show.json(found)
        return
    show.facts(_facts(found))
    if found.error is not None and found.error.trace:
        click.echo(f"\n{found.error.trace.rstrip()}")


def _facts(found: JobStatus) -> list[tuple[str, str]]:
    pairs: list[tuple[str, object]] = [
        ("job", found.id),
        ("queue", found.queue),
        ("function", found.function),
        ("state", found.state.value),
        ("progress", None if found.progress is None else f"{found.progress:.0%} {found.note or ''}".rstrip()),
        ("attempts", found.attempts),
        ("stalls", found.stalls or None),
        ("priority", found.priority and found.priority.value),
        ("group", found.group),
        ("enqueued", _time(found.enqueued_at)),
        ("due", _time(found.run_at)),
        ("started", _time(found.started_at)),
        ("finished", _time(found.finished_at)),
        ("worker", found.worker),
        *((f"data.{field}", value) for field, value in (found.data or {}).items()),
        ("result", found.result),
        ("error", found.error and f"{found.error.type}: {found.error.message}"),
    ]
    return [(name, str(value)) for name, value in pairs if value is not None]


@queue.command()
@queue_options.queue
@click.option("--state", "job_state", type=queue_options.State(), default=JobState.WAITING, show_default=True)
@queue_options.offset
@queue_options.page
@options.as_json
def jobs(queue_name: QueueName, job_state: JobState, offset: int, limit: int, *, as_json: bool) -> None:
    """The jobs of a queue in one state, in the order in which they will run or have ended.

    \b
    smsblossom queue jobs events
    smsblossom queue jobs delivery --state delayed --offset 50 --limit 50
    """  # noqa: D301
    found, total = session.ask(
        lambda runtime: queues.page_of_jobs(runtime.queue, queue_name, job_state, offset=offset, limit=limit)
    )
    page = JobPage([status_of(info) for info in found], total, offset, limit)
    if as_json:
        show.json(page)
        return
    columns = ("job", "function", "priority", "attempts", "due or started", "error")
    show.rows(columns, [_job_line(each) for each in page.jobs], empty=f"no {job_state} jobs on {queue_name}")
    if offset + len(found) < total:
        click.echo(f"\n{offset + 1:,}-{offset + len(found):,} of {total:,}; next: --offset {offset + len(found)}")


def _job_line(each: JobStatus) -> tuple[str, ...]:
    when = each.finished_at or each.started_at or each.run_at
    error = each.error.type if each.error else ""
    priority = each.priority.value if each.priority else ""
    return (each.id, each.function, priority, str(each.attempts), _time(when) or "", error)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


for _command in (*queue_control.COMMANDS, queue_dead.dead):
    queue.add_command(_command)
