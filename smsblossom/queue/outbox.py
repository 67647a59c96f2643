"""Jobs on their way to Redis: whatever is added in one turn of the event loop shares one call of add.lua."""

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial

from redis.exceptions import ConnectionError, NoScriptError  # noqa: A004

from smsblossom.jobs import QueueName
from smsblossom.queue import scripts
from smsblossom.queue.adds import NORMAL_HEAD_MS, Arguments
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.queue.link import Link

_BATCH = 500


class _Parcel:
    """One caller's jobs. `answered` gets their ids."""

    __slots__ = ("answered", "jobs")

    def __init__(self, jobs: Sequence[Arguments], answered: "asyncio.Future[list[str]]") -> None:
        self.jobs = jobs
        self.answered = answered


class Outbox:
    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: dict[QueueName, list[_Parcel]] = {}
        self._script = scripts.load("add")

    def put(self, queue: QueueName, jobs: Sequence[Arguments]) -> "asyncio.Future[list[str]]":
        """Send these jobs with the next call. The future raises `QueueUnavailable`."""
        loop = asyncio.get_running_loop()
        parcel = _Parcel(jobs, loop.create_future())
        if not self._waiting:
            loop.call_soon(self._send_waiting)
        self._waiting.setdefault(queue, []).append(parcel)
        return parcel.answered

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for queue, parcels in waiting.items():
            for batch in _batches(parcels):
                self._send(queue, batch, by_digest=True, is_retry=False)

    def _send(self, queue: QueueName, batch: list[_Parcel], *, by_digest: bool, is_retry: bool) -> None:
        how = ("EVALSHA", self._script.digest) if by_digest else ("EVAL", self._script.text)
        values = [value for parcel in batch for job in parcel.jobs for value in job]
        reply = self._link.send(*how, 1, queue.value, NORMAL_HEAD_MS, *values)
        reply.add_done_callback(partial(self._answer, queue, batch, is_retry))

    def _answer(
        self, queue: QueueName, batch: list[_Parcel], is_retry: bool, reply: "asyncio.Future[list[int | bytes]]"
    ) -> None:
        error = reply.exception()
        if error is None:
            _deliver(batch, reply.result())
        elif isinstance(error, NoScriptError):
            self._send(queue, batch, by_digest=False, is_retry=is_retry)
        elif isinstance(error, ConnectionError) and not is_retry:
            # Adding twice does no harm: an id is taken once, and a dedupe key answers with the id that took it.
            self._send(queue, batch, by_digest=True, is_retry=True)
        else:
            _refuse(batch, error)


def _batches(parcels: Sequence[_Parcel]) -> Iterator[list[_Parcel]]:
    """Calls short enough not to keep Redis from others."""
    batch: list[_Parcel] = []
    size = 0
    for parcel in parcels:
        batch.append(parcel)
        size += len(parcel.jobs)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _deliver(batch: Sequence[_Parcel], kept: Sequence[int | bytes]) -> None:
    """`kept` names, by their place in the batch, the jobs whose dedupe key belongs to another id."""
    holders = dict(zip(kept[::2], kept[1::2], strict=True)) if kept else {}
    place = 0
    for parcel in batch:
        ids = [job[0] for job in parcel.jobs]
        for index in range(len(ids)) if holders else ():
            holder = holders.get(place + index)
            if isinstance(holder, bytes):
                ids[index] = holder.decode()
        place += len(ids)
        if not parcel.answered.done():
            parcel.answered.set_result(ids)


def _refuse(batch: Sequence[_Parcel], error: BaseException) -> None:
    for parcel in batch:
        if not parcel.answered.done():
            unavailable = QueueUnavailable(type(error).__name__)
            unavailable.__cause__ = error
            parcel.answered.set_exception(unavailable)
