"""Errors that a person at a terminal can do something about, as one line each."""

from sqlalchemy.exc import DBAPIError

from smsblossom.bootstrap import WrongKey
from smsblossom.embedded.errors import EmbeddedError
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.settings import SettingError
from smsblossom.store.engine import StoreUnavailable, UnsafeRole
from smsblossom.usecases.manage import Refused

_START = "on a laptop start it with: smsblossom up"
_NO_TABLE = "42P01"
_NO_DATABASE = "3D000"
_REFUSES_ROLE = ("28000", "28P01")


def explained(error: Exception) -> str | None:
    """The line to show, or None for an error that is ours to mend."""
    match error:
        case SettingError(name="DATABASE_URL"):
            return f"{error}; {_START}"
        case StoreUnavailable():
            return f"PostgreSQL cannot be reached at DATABASE_URL; {_START}"
        case QueueUnavailable():
            return f"Redis cannot be reached at REDIS_URL; {_START}"
        case SettingError() | UnsafeRole() | WrongKey() | Refused() | EmbeddedError():
            return str(error)
        case DBAPIError():
            return _database(str(getattr(error.orig, "sqlstate", "") or ""))
        case _:
            return None


def _database(sqlstate: str) -> str | None:
    if sqlstate == _NO_TABLE:
        return "the database has not this release's tables; make them with: smsblossom migrate"
    if sqlstate == _NO_DATABASE:
        return "DATABASE_URL names a database that does not exist; for example postgresql://smsblossom_app@/smsblossom"
    if sqlstate in _REFUSES_ROLE:
        return "PostgreSQL refuses the role or password of DATABASE_URL; the roles are made by migrations/roles.sql"
    return None
