"""Keep dead jobs in PostgreSQL, and end the rows they were for, so that the sweeper does not drive them for ever."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
import structlog

from smsblossom.bootstrap import Runtime
from smsblossom.domain.ids import SYSTEM, ShopId, WebhookEventId
from smsblossom.jobs import EvaluateAutomations
from smsblossom.queue.dead_letters import DeadLetter
from smsblossom.store import automations, dead_letters, inbox
from smsblossom.store.engine import Connection
from smsblossom.store.inbox import InboxState
from smsblossom.telemetry import blank_personal

log = structlog.get_logger()


class DeadLetterStore:
    """The queue's `DeadLetters`, on the dead_letters table."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            await self._add(letter)

    async def _add(self, letter: DeadLetter) -> None:
        shop_id = _shop_of(letter)
        async with self._runtime.store.transaction(shop_id) as connection:
            await dead_letters.add(
                connection,
                dead_letters.DeadLetter(
                    shop_id=shop_id,
                    queue=letter.queue,
                    function=letter.function,
                    job_id=letter.job_id,
                    data=letter.raw,
                    error_type=letter.failure.type,
                    error=blank_personal(letter.failure.message),
                    trace=blank_personal(letter.failure.trace or "") or None,
                    attempts=letter.attempts,
                    request_id=letter.request_id,
                    first_failed_at=letter.first_failed_at,
                    last_failed_at=letter.died_at,
                ),
            )
            await self._end_row(connection, shop_id, letter)

    async def _end_row(self, connection: Connection, shop_id: ShopId, letter: DeadLetter) -> None:
        now = self._runtime.now()
        reason = f"job died: {letter.failure.type}"
        if letter.function == EvaluateAutomations.kind:
            job = msgspec.convert(letter.data, EvaluateAutomations)
            for run in await automations.pending_runs(connection, shop_id, job.context):
                await automations.finish_run(connection, shop_id, run.id, now=now, state="dead")
        elif letter.job_id.startswith("event:"):
            event_id = WebhookEventId(UUID(letter.job_id.removeprefix("event:")))
            await inbox.settle(connection, shop_id, event_id, InboxState.DEAD, reason=reason, object_id=None, now=now)


def _shop_of(letter: DeadLetter) -> ShopId:
    return ShopId(UUID(letter.shop_id)) if letter.shop_id else SYSTEM
