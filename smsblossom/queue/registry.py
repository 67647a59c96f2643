"""Which coroutine runs which job. Processors register themselves by decorator when their module is imported."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from smsblossom.jobs import Job, QueueName

R = TypeVar("R")
J = TypeVar("J", bound=Job)
Processor = Callable[[Any, Any], Awaitable[object]]


class AlreadyRegistered(ValueError):  # noqa: N818
    """Two processors claim the same function name."""


@dataclass(frozen=True, slots=True)
class Registered:
    """One function of a queue. `time_limit_in` replaces the queue's own."""

    function: str
    payload: type[Job]
    queue: QueueName
    coroutine: Processor
    time_limit_in: timedelta | None = None


class Registry:
    def __init__(self) -> None:
        self._by_function: dict[str, Registered] = {}

    def __iter__(self) -> Iterator[Registered]:
        return iter(self._by_function.values())

    def get(self, function: str) -> Registered | None:
        return self._by_function.get(function)

    def functions(self, queue: QueueName | None = None) -> list[Registered]:
        """Every registered function, or those of one queue."""
        return [entry for entry in self if queue is None or entry.queue == queue]

    def processor(
        self, payload: type[J], *, function: str | None = None, time_limit_in: timedelta | None = None
    ) -> Callable[[Callable[[R, J], Awaitable[object]]], Callable[[R, J], Awaitable[object]]]:
        """Register the decorated coroutine for jobs of this type, under the type's own name or `function`."""

        def register(coroutine: Callable[[R, J], Awaitable[object]]) -> Callable[[R, J], Awaitable[object]]:
            name = function or payload.kind
            known = self._by_function.get(name)
            if known is not None and known.coroutine is not coroutine:
                msg = f"{name} is already handled by {known.coroutine!r}"
                raise AlreadyRegistered(msg)
            self._by_function[name] = Registered(name, payload, payload.queue, coroutine, time_limit_in)
            return coroutine

        return register


DEFAULT = Registry()
processor = DEFAULT.processor
functions = DEFAULT.functions
