"""Delivery reports (DLR) and inbound texts (MO), posted by a few workers until the receiver answers 2xx.

The bodies follow what is known of Mitto: no signature, GET or POST, several spellings of the same fields.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlencode

import aiohttp
import msgspec

from smsblossom.sandbox.mitto_knobs import Knobs

Names = Literal["short", "long", "pascal"]
Kind = Literal["dlr", "mo"]

_LONG: dict[Kind, dict[str, str]] = {
    "dlr": {"id": "messageId", "status": "deliveryStatus", "timestamp": "updatedAt"},
    "mo": {"id": "messageId"},
}
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0


class Callback(msgspec.Struct, kw_only=True):
    """One report or inbound text on its way, with the fields in their short spelling."""

    kind: Kind
    url: str | None
    api: str
    fields: dict[str, str]
    tries: int = 0


def spelled(callback: Callback, names: Names) -> dict[str, str]:
    """The fields as `id, status`, as `messageId, deliveryStatus, updatedAt`, or as `MessageId, DeliveryStatus`."""
    if names == "short":
        return callback.fields
    renamed = {_LONG[callback.kind].get(name, name): value for name, value in callback.fields.items()}
    if names == "long":
        return renamed
    return {name[0].upper() + name[1:]: value for name, value in renamed.items()}


def dotnet_timestamp(at: datetime) -> str:
    """UTC with the seven fraction digits that .NET writes: `2019-04-13T17:51:06.3091182Z`."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond:06d}{at.microsecond % 10}Z"


class Poster:
    """A time-ordered heap of callbacks and a fixed number of workers; nothing is posted while reports are paused."""

    def __init__(self, knobs: Callable[[], Knobs], count: Callable[[str], None], *, workers: int = 16) -> None:
        self._knobs = knobs
        self._count = count
        self._heap: list[tuple[float, int, Callback, Callable[[], None] | None]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self._due: asyncio.Queue[Callback] = asyncio.Queue(maxsize=4 * workers)
        self._workers = workers
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._workers),
            timeout=aiohttp.ClientTimeout(total=5),
            skip_auto_headers=["User-Agent"],
        )
        self._tasks = [asyncio.create_task(self._schedule())]
        self._tasks += [asyncio.create_task(self._work(self._session)) for _ in range(self._workers)]

    async def close(self) -> None:
        """Stop at once; what is not yet posted is lost, as when the real one dies."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def add(self, callback: Callback, delay_s: float, when_due: Callable[[], None] | None = None) -> None:
        """Post in `delay_s` seconds; `when_due` runs at that moment even when there is nowhere to post to."""
        due = asyncio.get_running_loop().time() + delay_s
        heapq.heappush(self._heap, (due, next(self._order), callback, when_due))
        if self._heap[0][2] is callback:
            self._changed.set()

    def wake(self) -> None:
        """The knobs were turned."""
        self._changed.set()

    @property
    def waiting(self) -> int:
        return len(self._heap) + self._due.qsize()

    async def _schedule(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            self._changed.clear()
            if not self._heap or self._knobs().reports_paused:
                await self._changed.wait()
            elif (pause := self._heap[0][0] - clock()) > 0:
                await _wait(self._changed, pause)
            else:
                _, _, callback, when_due = heapq.heappop(self._heap)
                if when_due is not None:
                    when_due()
                await self._due.put(callback)

    async def _work(self, session: aiohttp.ClientSession) -> None:
        while True:
            callback = await self._due.get()
            knobs = self._knobs()
            if knobs.reports_paused:
                self.add(callback, 0.0)
                continue
            url = callback.url or (knobs.dlr_url if callback.kind == "dlr" else knobs.inbound_url)
            if url is None:
                self._count(f"{callback.kind}_without_url")
            elif await _post(session, url, callback, knobs):
                self._count(f"{callback.kind}_posted")
            else:
                self._again(callback, knobs)

    def _again(self, callback: Callback, knobs: Knobs) -> None:
        callback.tries += 1
        if callback.tries >= knobs.report_tries:
            self._count(f"{callback.kind}_given_up")
            return
        self._count(f"{callback.kind}_retried")
        self.add(callback, min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(callback.tries - 1, 10)))


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


async def _post(session: aiohttp.ClientSession, url: str, callback: Callback, knobs: Knobs) -> bool:
    """True when the receiver answered 2xx."""
    fields = spelled(callback, _names(callback, knobs))
    try:
        async with _request(session, url, fields, knobs) as response:
            await response.read()
            return 200 <= response.status < 300
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


def _names(callback: Callback, knobs: Knobs) -> Names:
    if knobs.callback_names != "by_api":
        return knobs.callback_names
    return "long" if callback.kind == "dlr" and callback.api == "messaging" else "short"


def _request(
    session: aiohttp.ClientSession, url: str, fields: dict[str, str], knobs: Knobs
) -> aiohttp.client._RequestContextManager:
    headers = knobs.callback_headers
    match knobs.callback_method:
        case "get":
            return session.get(f"{url}{'&' if '?' in url else '?'}{urlencode(fields)}", headers=headers)
        case "form":
            return session.post(url, data=fields, headers=headers)
        case "json" | "array":
            body = msgspec.json.encode([fields] if knobs.callback_method == "array" else fields)
            return session.post(url, data=body, headers={"Content-Type": "application/json", **headers})
