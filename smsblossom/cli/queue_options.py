"""The words that the queue commands take: queues, states, durations. Each error shows a valid one."""

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar

import click

from smsblossom.jobs import QueueName
from smsblossom.queue.jobinfo import JobState
from smsblossom.usecases.queues import LONGEST_PAGE, MOST_CLEANED

_C = TypeVar("_C", bound=Callable[..., Any] | click.Command)
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST: Final = timedelta(days=36_500)


class Queue(click.ParamType[QueueName]):
    name = "queue"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> QueueName:
        try:
            return QueueName(str(value))
        except ValueError:
            self.fail(f"there is no queue {value!r}, only {', '.join(QueueName)}; for example events", param, ctx)


class State(click.ParamType[JobState]):
    """A job's state, of those that the command takes."""

    name = "state"

    def __init__(self, *states: JobState) -> None:
        self._states: Sequence[JobState] = states or tuple(JobState)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        return f"[{'|'.join(self._states)}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> JobState:
        if value not in self._states:
            first = self._states[0]
            self.fail(f"{value!r} is not one of {', '.join(self._states)}; for example --state {first}", param, ctx)
        return JobState(value)


class Duration(click.ParamType[timedelta]):
    """`90s`, `15m`, `1h` or `2d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        spelled = re.fullmatch(r"(\d{1,9})([smhd])", str(value))
        duration = timedelta(**{_UNITS[spelled[2]]: int(spelled[1])}) if spelled else None
        if duration is None or duration > _LONGEST:
            self.fail(f"{value!r} is no duration: a number and s, m, h or d; for example 1h", param, ctx)
        return duration


QUEUE: Final = Queue()
DURATION: Final = Duration()

queue = click.argument("queue_name", metavar="QUEUE", type=QUEUE)
job = click.argument("job_id", metavar="JOB")
offset = click.option("--offset", type=click.IntRange(0, 1_000_000), default=0, show_default=True, help="Skip so many.")
page = click.option(
    "--limit", type=click.IntRange(1, LONGEST_PAGE), default=50, show_default=True, help="List at most so many."
)


def at_most(default: int) -> Callable[[_C], _C]:
    """`--limit`, of a command that changes so many jobs at most."""
    kind = click.IntRange(1, MOST_CLEANED)
    return click.option("--limit", type=kind, default=default, show_default=True, help="At most so many jobs.")
