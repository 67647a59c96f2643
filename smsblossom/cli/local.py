"""The settings of a local run: what the environment gives, what an earlier run made up, and the addresses of this one.

Pure: what is asked of the environment and of the file is handed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from smsblossom import settings

_SECRETS: Final = ("SHOPIFY_API_SECRET", "MITTO_CALLBACK_TOKEN", "ENCRYPTION_KEYS", "BLIND_INDEX_KEY", "API_TOKEN")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the parts of one local run are."""

    database_url: str
    database_admin_url: str | None
    redis_url: str
    host: str
    port: int
    mitto_url: str | None
    """The fake Mitto's, or None for a run that sends real texts."""


def settings_of(given: Mapping[str, str], known: Mapping[str, str], at: Addresses) -> dict[str, str]:
    """Every setting that this run decides, to hand to its children and to keep for commands in a second terminal.

    A secret of the environment goes before one that was made earlier, which goes before a fresh one: a database made
    with a key can be read only with that key.
    """
    secrets = {name: given.get(name) or known.get(name, "") for name in _SECRETS}
    secrets |= settings.local_secrets(secrets)
    return {
        **secrets,
        "DATABASE_URL": at.database_url,
        "DATABASE_ADMIN_URL": at.database_admin_url or "",
        "REDIS_URL": at.redis_url,
        "HOST": at.host,
        "PORT": str(at.port),
        "APP_URL": given.get("APP_URL") or local_url(at.host, at.port),
        "MITTO_BASE_URL": at.mitto_url or given.get("MITTO_BASE_URL", ""),
        "SMSBLOSSOM_SANDBOX": "1" if at.mitto_url else "0",
    }


def local_url(host: str, port: int) -> str:
    """The address for a browser on this machine; a service that listens everywhere is reached by loopback."""
    return f"http://{'127.0.0.1' if host in {'0.0.0.0', '::'} else host}:{port}"  # noqa: S104  compared, not bound
