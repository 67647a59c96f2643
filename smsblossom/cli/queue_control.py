"""The queue commands that change something. Each says in one line what it did."""

import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import click

from smsblossom.api.schemas import Done, JobDone
from smsblossom.bootstrap import Runtime
from smsblossom.cli import options, queue_options, session, show
from smsblossom.jobs import QueueName
from smsblossom.queue.jobinfo import JobState
from smsblossom.usecases import queues
from smsblossom.usecases.queues import Operator

OPERATOR: Final = Operator(actor=session.ACTOR)
_OnJob = Callable[..., Awaitable[None]]


@click.command()
@queue_options.queue
@options.as_json
def pause(queue_name: QueueName, *, as_json: bool) -> None:
    """Start no job of this queue until it is resumed, not even after a restart. Running jobs end.

    \b
    smsblossom queue pause campaigns
    """  # noqa: D301  click's mark of a paragraph that it must not wrap
    session.ask(lambda runtime: queues.pause(runtime, queue_name, by=OPERATOR))
    _say(
        Done(queue=queue_name, done="paused"),
        f"{queue_name} is paused; go on with: smsblossom queue resume {queue_name}",
        as_json=as_json,
    )


@click.command()
@queue_options.queue
@options.as_json
def resume(queue_name: QueueName, *, as_json: bool) -> None:
    """Let the jobs of a paused queue start again.

    \b
    smsblossom queue resume campaigns
    """  # noqa: D301
    session.ask(lambda runtime: queues.resume(runtime, queue_name, by=OPERATOR))
    _say(Done(queue=queue_name, done="resumed"), f"{queue_name} runs again", as_json=as_json)


@click.command()
@queue_options.queue
@click.option("--delayed", is_flag=True, help="Also the jobs that are due later.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation; needed where nobody can be asked.")
@options.as_json
def drain(queue_name: QueueName, *, delayed: bool, yes: bool, as_json: bool) -> None:
    """Remove all waiting jobs of a queue. Running jobs end.

    What the jobs were for stays in PostgreSQL, and the sweeper makes new jobs for it: drain is for a queue that holds
    too much, not for undoing work. Pause the queue first, or its workers go on meanwhile.

    \b
    smsblossom queue drain campaigns --yes
    smsblossom queue drain campaigns --delayed --yes --json
    """  # noqa: D301
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(
                f"drain removes jobs: say --yes; for example smsblossom queue drain {queue_name} --yes"
            )
        click.confirm(
            f"Remove all waiting{' and delayed' if delayed else ''} jobs of {queue_name}?", abort=True, err=True
        )
    removed = session.ask(lambda runtime: queues.drain(runtime, queue_name, delayed=delayed, by=OPERATOR))
    _say(
        Done(queue=queue_name, done="drained", jobs=removed),
        f"removed {_jobs(removed)} from {queue_name}",
        as_json=as_json,
    )


@click.command()
@queue_options.queue
@click.option(
    "--state",
    "job_state",
    type=queue_options.State(JobState.COMPLETED, JobState.FAILED, JobState.DEAD),
    default=JobState.COMPLETED,
    show_default=True,
)
@click.option("--older-than", type=queue_options.DURATION, required=True, help="Since their end: 90s, 15m, 1h or 2d.")
@queue_options.at_most(1_000)
@options.as_json
def clean(queue_name: QueueName, job_state: JobState, older_than: timedelta, limit: int, *, as_json: bool) -> None:
    """Forget jobs that ended a while ago, with their results.

    Failed jobs here are those that were aborted or expired, not those that wait for their next attempt.

    \b
    smsblossom queue clean events --older-than 1h
    smsblossom queue clean delivery --state failed --older-than 2d --limit 100
    """  # noqa: D301
    removed = session.ask(
        lambda runtime: queues.clean(runtime, queue_name, job_state, older_than=older_than, limit=limit, by=OPERATOR)
    )
    line = f"forgot {_jobs(removed)} of {queue_name} that had {_ended(job_state)}"
    _say(Done(queue=queue_name, done="cleaned", jobs=removed), line, as_json=as_json)


@click.command()
@queue_options.queue
@click.argument("job_id", metavar="[JOB]", required=False)
@click.option("--all", "every", is_flag=True, help="All jobs in --state, in place of one JOB.")
@click.option(
    "--state",
    "job_state",
    type=queue_options.State(JobState.FAILED, JobState.DEAD),
    default=JobState.FAILED,
    show_default=True,
)
@queue_options.at_most(10_000)
@options.as_json
def retry(
    queue_name: QueueName, job_id: str | None, job_state: JobState, limit: int, *, every: bool, as_json: bool
) -> None:
    """Run failed jobs now, or dead ones again from their first attempt: one JOB, or --all in a state.

    \b
    smsblossom queue retry events 0193d3a0-7c2e-7f10-8a54-0d6a5f0e9c11
    smsblossom queue retry events --all
    smsblossom queue retry events --all --state dead --limit 100
    """  # noqa: D301
    if every == (job_id is not None):
        example = f"smsblossom queue retry {queue_name} --all"
        raise click.UsageError(
            f"name one JOB or say --all, not {'both' if every else 'neither'}; for example {example}"
        )

    async def body(runtime: Runtime) -> int:
        if job_id is None:
            return await queues.retry_all(runtime, queue_name, job_state, limit=limit, by=OPERATOR)
        await queues.retry(runtime, queue_name, job_id, by=OPERATOR)
        return 1

    retried = session.ask(body)
    _say(
        Done(queue=queue_name, done="retried", jobs=retried),
        f"{_jobs(retried)} of {queue_name} will run again",
        as_json=as_json,
    )


@click.command()
@queue_options.queue
@queue_options.job
@options.as_json
def remove(queue_name: QueueName, job_id: str, *, as_json: bool) -> None:
    """Forget a job that is not running.

    \b
    smsblossom queue remove events 0193d3a0-7c2e-7f10-8a54-0d6a5f0e9c11
    """  # noqa: D301
    _act(queues.remove, queue_name, job_id, "removed", as_json=as_json)


@click.command()
@queue_options.queue
@queue_options.job
@options.as_json
def promote(queue_name: QueueName, job_id: str, *, as_json: bool) -> None:
    """Make a delayed job, or one that waits for its next attempt, due now.

    \b
    smsblossom queue promote events 0193d3a0-7c2e-7f10-8a54-0d6a5f0e9c11
    """  # noqa: D301
    _act(queues.promote, queue_name, job_id, "promoted", as_json=as_json)


@click.command()
@queue_options.queue
@queue_options.job
@options.as_json
def abort(queue_name: QueueName, job_id: str, *, as_json: bool) -> None:
    """Stop a running job, or end one that has yet to run.

    \b
    smsblossom queue abort events 0193d3a0-7c2e-7f10-8a54-0d6a5f0e9c11
    """  # noqa: D301
    _act(queues.abort, queue_name, job_id, "aborted", as_json=as_json)


COMMANDS: Final = (pause, resume, drain, clean, retry, remove, promote, abort)


def _act(verb: _OnJob, queue_name: QueueName, job_id: str, done: str, *, as_json: bool) -> None:
    session.ask(lambda runtime: verb(runtime, queue_name, job_id, by=OPERATOR))
    _say(JobDone(queue=queue_name, id=job_id, done=done), f"{done} job {job_id} of {queue_name}", as_json=as_json)


def _say(done: Done | JobDone, line: str, *, as_json: bool) -> None:
    if as_json:
        show.json(done)
    else:
        click.echo(line)


def _jobs(count: int) -> str:
    return f"{count:,} job{'' if count == 1 else 's'}"


def _ended(state: JobState) -> str:
    return {JobState.COMPLETED: "completed", JobState.DEAD: "died"}.get(state, "been aborted or expired")
