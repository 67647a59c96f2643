"""Forget what nobody needs any more and no law asks to keep: ended ticks, heartbeats of processes long gone."""

from datetime import timedelta
from typing import Final

from smsblossom.bootstrap import Runtime
from smsblossom.store import schedules, workers

TICKS_KEPT: Final = timedelta(days=30)
HEARTBEATS_KEPT: Final = timedelta(days=7)
_BATCH: Final = 1000


async def purge(runtime: Runtime) -> dict[str, int]:
    """How many rows of each kind went."""
    async with runtime.store.sweeper() as connection:
        await workers.forget_old(connection, older_than=HEARTBEATS_KEPT)
    return {"schedule_ticks": await _ticks(runtime)}


async def _ticks(runtime: Runtime) -> int:
    before, total = runtime.now() - TICKS_KEPT, 0
    while True:
        async with runtime.store.sweeper() as connection:
            gone = await schedules.forget_ticks(connection, ended_before=before, limit=_BATCH)
        total += gone
        if gone < _BATCH:
            return total
