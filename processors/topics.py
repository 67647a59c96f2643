"""Topics and their processors: one decorator registers the function for the inbox and, by name, for replay."""

from collections.abc import Callable
from typing import Final

from processors import redriven
from smsblossom import jobs
from smsblossom.bootstrap import Runtime
from smsblossom.queue.registry import processor
from smsblossom.usecases import intake
from smsblossom.usecases.intake import Handler

HANDLERS: Final[dict[str, Handler]] = {}


def on_topic(*topics: str) -> Callable[[Handler], Handler]:
    """Make this coroutine the processor of these topics, as `events:process` and as `event:{topic}`."""

    def register(handler: Handler) -> Handler:
        for topic in topics:
            HANDLERS[topic] = handler
            processor(jobs.HandleEvent, function=f"event:{topic.replace('/', '.')}")(_addressed)
        return handler

    return register


@redriven.by_the_sweeper
async def _addressed(runtime: Runtime, job: jobs.ProcessEvent) -> None:
    await intake.process(runtime, job.shop_id, job.event_id, HANDLERS)
