"""Errors that a person at a terminal can do something about, as one line each."""

from smsblossom.bootstrap import WrongKey
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.store.engine import StoreUnavailable, UnsafeRole
from smsblossom.usecases.manage import Refused


def explained(error: Exception) -> str | None:
    """The line to show, or None for an error that is ours to mend."""
    match error:
        case StoreUnavailable():
            return "PostgreSQL cannot be reached at DATABASE_URL; on a laptop start it with: smsblossom up"
        case QueueUnavailable():
            return "Redis cannot be reached at REDIS_URL; on a laptop start it with: smsblossom up"
        case UnsafeRole() | WrongKey() | Refused():
            return str(error)
        case _:
            return None
