"""Leases are renewed from a thread with a connection of its own: a job that blocks the loop does not lose them."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import redis
import structlog
from redis.exceptions import RedisError

from smsblossom.queue.calls import call_script
from smsblossom.queue.run import Run

_PAGE = 500


class Held:
    """The running jobs of one worker on one queue, as the thread sees them.

    `on_lost` is called in the thread with the ids another worker has taken. `beat`, if given, is called in the
    thread with the connection at every round and tells the fleet that this worker lives.
    """

    def __init__(
        self,
        queue: str,
        running: Mapping[str, Run],
        on_lost: Callable[[list[str]], None],
        beat: Callable[[Any], None] | None = None,
    ) -> None:
        self.queue = queue
        self.running = running
        self.on_lost = on_lost
        self.beat = beat


class LeaseKeeper:
    """One thread for all the queues of a process. `lease_s` is how long a lease lasts, renewed every fifth of it."""

    def __init__(self, open_redis: Callable[[], redis.Redis], *, lease_s: float) -> None:
        self._open_redis = open_redis
        self._lease_s = lease_s
        self._held: list[Held] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self, held: Held) -> None:
        """Keep the leases of this worker's jobs from now on."""
        self._held = [*self._held, held]
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep, name="queue-leases", daemon=True)
            self._thread.start()

    def release(self, held: Held) -> None:
        self._held = [other for other in self._held if other is not held]

    def close(self) -> None:
        """End the thread; waits for the round under way."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=self._lease_s)
            self._thread = None

    def _keep(self) -> None:
        client = self._open_redis()
        pause = self._lease_s / 5
        try:
            while not self._stop.wait(pause):
                pause = self._lease_s / 5 if self._renew_all(client) else min(0.2, self._lease_s / 8)
        finally:
            client.close()

    def _renew_all(self, client: redis.Redis) -> bool:
        """Whether every lease that needed it was renewed."""
        complete = True
        for held in self._held:
            try:
                self._renew(client, held)
                if held.beat is not None:
                    held.beat(client)
            except (RedisError, OSError) as exc:
                complete = False
                structlog.get_logger("smsblossom.queue").debug("lease.not_renewed", error=type(exc).__name__)
            except Exception:  # noqa: BLE001 - the thread must outlive whatever happens to one queue
                complete = False
                structlog.get_logger("smsblossom.queue").exception("lease.error")
        return complete

    def _renew(self, client: redis.Redis, held: Held) -> None:
        young = time.monotonic() - self._lease_s / 16
        # A copy of a dict is one step for other threads, its iteration is not.
        runs = [run for run in dict(held.running).values() if run.claimed_at < young]
        for first in range(0, len(runs), _PAGE):
            arguments: list[Any] = [round(self._lease_s * 1000)]
            for run in runs[first : first + _PAGE]:
                arguments += (run.job_id, run.owner)
            taken = call_script(client, "renew", held.queue, arguments)
            if taken:
                held.on_lost([job_id.decode() for job_id in taken])
