"""`/dead-letters`: jobs that used up their tries, as PostgreSQL keeps them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from smsblossom.api.endpoints import Call, Endpoint
from smsblossom.api.schemas import Limit, Offset, known_fields
from smsblossom.domain.ids import ShopId
from smsblossom.jobs import QueueName
from smsblossom.store.dead_letters import Filter, KeptLetter, LetterState
from smsblossom.telemetry import blank_personal
from smsblossom.usecases import dead_letters, queues

_QUEUE: Final = Meta(examples=["events"])
_SHOP: Final = Meta(examples=["6d3f3c3e-58f7-5d5e-9a35-0f0a6a1d7b11"])


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead job. `data` has its ids; null for a function unknown here. `redriven`: how often it was run again."""

    id: UUID
    job_id: str
    queue: str
    function: str
    state: LetterState
    shop_id: UUID
    request_id: str | None
    attempts: int
    error_type: str
    error: str
    trace: str | None
    first_failed_at: datetime
    last_failed_at: datetime
    redriven: int
    data: Mapping[str, Any] | None


class Letters(msgspec.Struct, frozen=True):
    """One page, last failed first. `total` counts the dead ones of all queues, or of the queue asked for."""

    letters: list[Letter]
    total: int
    offset: int
    limit: int


class LettersDone(msgspec.Struct, frozen=True, kw_only=True):
    """`waiting` of these jobs go back on their queue as soon as Redis answers."""

    done: str
    letters: int
    waiting: int = 0


class LettersQuery(msgspec.Struct, frozen=True):
    queue: Annotated[QueueName, _QUEUE] | None = None
    function: Annotated[str, Meta(examples=["events:process"])] | None = None
    error_type: Annotated[str, Meta(examples=["JobTimedOut"])] | None = None
    shop_id: Annotated[UUID, _SHOP] | None = None
    state: Annotated[LetterState, Meta(examples=["dead"])] = LetterState.DEAD
    offset: Offset = 0
    limit: Limit = 50


class RedriveBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which letters are meant; every field narrows."""

    queue: Annotated[QueueName, _QUEUE] | None = None
    function: Annotated[str, Meta(examples=["events:process"])] | None = None
    error_type: Annotated[str, Meta(examples=["JobTimedOut"])] | None = None
    shop_id: Annotated[UUID, _SHOP] | None = None
    limit: Annotated[int, Meta(ge=1, le=queues.MOST_CLEANED, examples=[1000])] = 1_000


async def list_letters(call: Call, query: LettersQuery) -> Letters:
    """The dead letters, last failed first."""
    where = msgspec.structs.replace(_filter_of(query), state=query.state)
    found = await dead_letters.listing(call.runtime, where=where, limit=query.limit, offset=query.offset)
    depths = await dead_letters.depths(call.runtime)
    total = depths.get(query.queue, 0) if query.queue else sum(depths.values())
    return Letters([letter_of(letter) for letter in found], total, query.offset, query.limit)


async def show_letter(call: Call) -> Letter:
    """One dead letter, by its own id or by its job's."""
    return letter_of(await dead_letters.show(call.runtime, call.letter))


async def redrive(call: Call, body: RedriveBody) -> LettersDone:
    """Run the jobs of these dead letters again, each from its first attempt."""
    done = await dead_letters.redrive_matching(
        call.runtime, where=_filter_of(body), actor=call.operator.actor, limit=body.limit
    )
    return LettersDone(done="retried", letters=done.letters, waiting=done.waiting)


async def redrive_one(call: Call) -> LettersDone:
    """Run the job of this dead letter again, from its first attempt."""
    done = await dead_letters.redrive(call.runtime, call.letter, actor=call.operator.actor)
    return LettersDone(done="retried", letters=done.letters, waiting=done.waiting)


async def drop(call: Call) -> LettersDone:
    """Delete this dead letter for good."""
    await dead_letters.drop(call.runtime, call.letter, actor=call.operator.actor)
    return LettersDone(done="dropped", letters=1)


def letter_of(letter: KeptLetter) -> Letter:
    return Letter(
        id=letter.id,
        job_id=letter.job_id,
        queue=letter.queue,
        function=letter.function,
        state=letter.state,
        shop_id=letter.shop_id,
        request_id=letter.request_id,
        attempts=letter.attempts,
        error_type=letter.error_type,
        error=blank_personal(letter.error),
        trace=None if letter.trace is None else blank_personal(letter.trace),
        first_failed_at=letter.first_failed_at,
        last_failed_at=letter.last_failed_at,
        redriven=letter.redriven,
        data=known_fields(letter.function, dead_letters.job_data(letter)),
    )


def _filter_of(asked: LettersQuery | RedriveBody) -> Filter:
    return Filter(
        queue=asked.queue,
        function=asked.function,
        error_type=asked.error_type,
        shop_id=None if asked.shop_id is None else ShopId(asked.shop_id),
    )


ENDPOINTS: Final = (
    Endpoint("GET", "/dead-letters", list_letters),
    Endpoint("GET", "/dead-letters/{letter}", show_letter, problems=(400,)),
    Endpoint("POST", "/dead-letters/retry", redrive),
    Endpoint("POST", "/dead-letters/{letter}/retry", redrive_one, problems=(400, 409)),
    Endpoint("DELETE", "/dead-letters/{letter}", drop, problems=(400, 409)),
)
