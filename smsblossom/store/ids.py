"""Fresh ids for rows: UUIDv7, so that keys arrive in the order of time and indexes stay dense."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    return uuid7()
