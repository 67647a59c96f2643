"""Every knob, typed. The only reader of the environment.

Local runs keep their made-up secrets and addresses in `.smsblossom/local.env`, so that commands in a second terminal
find them. An environment that names DATABASE_URL is a deployment: the file is not looked at.
"""

import base64
import binascii
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

LOCAL_HOME = Path(".smsblossom")
LOCAL_FILE = "local.env"
KEY_BYTES = 32
EXAMPLE_KEY = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


_T = TypeVar("_T", bound=str)


class SettingError(Exception):
    """A setting is missing or malformed. The message is one line: its name, what is wrong, a valid example."""

    def __init__(self, name: str, problem: str, example: str) -> None:
        super().__init__(f"{name} {problem}; for example {name}={example}")
        self.name = name


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """One AES-256 key. `key_id` is its number in the ciphertext's first byte."""

    key_id: int
    key: bytes

    def __repr__(self) -> str:
        return f"EncryptionKey(key_id={self.key_id})"


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """All settings of one process. Never printed: it holds secrets."""

    database_url: str
    database_admin_url: str | None
    redis_url: str
    app_url: str
    host: str
    port: int
    shopify_api_key: str
    shopify_api_secrets: tuple[bytes, ...]
    shopify_scopes: tuple[str, ...]
    shopify_api_version: str
    mitto_api: Literal["classic", "messaging"]
    mitto_base_url: str
    mitto_api_key: str
    mitto_sender: str
    mitto_traffic_account_id: str
    mitto_callback_token: str
    mitto_connect_timeout_s: float
    mitto_read_timeout_s: float
    encryption_keys: tuple[EncryptionKey, ...]
    blind_index_key: bytes
    api_token: str
    metrics_token: str
    log_level: str
    log_format: Literal["json", "console"]
    delivery_concurrency: int
    delivery_reserved: int
    queue_alert_waiting: int
    queue_alert_failed: int
    queue_alert_oldest_s: float
    dead_letter_days: int
    dead_letter_redrives: int
    audit_days: int
    audit_spool: Path
    sandbox: bool

    def __repr__(self) -> str:
        return f"Settings(host={self.host!r}, port={self.port}, sandbox={self.sandbox})"

    @property
    def callback_base(self) -> str:
        """Where the provider posts reports and inbound texts; the token in the path is the authentication."""
        return f"{self.app_url.rstrip('/')}/webhooks/mitto/{self.mitto_callback_token}"


def load(environ: Mapping[str, str] | None = None, *, home: Path = LOCAL_HOME) -> Settings:
    """Read the environment; without DATABASE_URL in it, over the file that a local run left in `home`.

    Raises:
        SettingError: a setting is missing or malformed.

    """
    given = os.environ if environ is None else environ
    read = _Reader(given if given.get("DATABASE_URL") else {**read_local(home), **given})
    return Settings(
        database_url=read.url(
            "DATABASE_URL", ("postgresql",), "postgresql://smsblossom_app:secret@localhost/smsblossom"
        ),
        database_admin_url=read.optional_url("DATABASE_ADMIN_URL", ("postgresql",)),
        redis_url=read.url("REDIS_URL", ("redis", "rediss", "unix"), "redis://localhost:6379/0"),
        app_url=read.url("APP_URL", ("http", "https"), "https://sms.example.com"),
        host=read.text("HOST", default="127.0.0.1"),
        port=read.integer("PORT", default=8080, low=0, high=65535),
        shopify_api_key=read.text("SHOPIFY_API_KEY", default=""),
        shopify_api_secrets=tuple(s.encode() for s in read.items("SHOPIFY_API_SECRET", "shpss_0123456789abcdef")),
        shopify_scopes=tuple(read.items("SHOPIFY_SCOPES", "", default=_SCOPES)),
        shopify_api_version=read.matching("SHOPIFY_API_VERSION", r"\d{4}-\d{2}|unstable", default="2026-10"),
        mitto_api=read.choice("MITTO_API", ("classic", "messaging"), default="classic"),
        mitto_base_url=read.url("MITTO_BASE_URL", ("http", "https"), "https://rest.mittoapi.net", default=True),
        mitto_api_key=read.text("MITTO_API_KEY", default=""),
        mitto_sender=read.text("MITTO_SENDER", default="SMSBlossom"),
        mitto_traffic_account_id=read.text("MITTO_TRAFFIC_ACCOUNT_ID", default=""),
        mitto_callback_token=read.secret("MITTO_CALLBACK_TOKEN"),
        mitto_connect_timeout_s=read.number("MITTO_CONNECT_TIMEOUT", default=5.0, low=0.05, high=60),
        mitto_read_timeout_s=read.number("MITTO_READ_TIMEOUT", default=30.0, low=0.05, high=300),
        encryption_keys=read.keys("ENCRYPTION_KEYS"),
        blind_index_key=read.key("BLIND_INDEX_KEY"),
        api_token=read.secret("API_TOKEN"),
        metrics_token=read.text("METRICS_TOKEN", default=""),
        log_level=read.choice("LOG_LEVEL", ("debug", "info", "warning", "error"), default="info"),
        log_format=read.choice("LOG_FORMAT", ("json", "console"), default="json"),
        delivery_concurrency=read.integer("DELIVERY_CONCURRENCY", default=20, low=1, high=1000),
        delivery_reserved=read.integer("DELIVERY_RESERVED", default=4, low=0, high=100),
        queue_alert_waiting=read.integer("QUEUE_ALERT_WAITING", default=1000, low=0, high=999_999_999),
        queue_alert_failed=read.integer("QUEUE_ALERT_FAILED", default=100, low=0, high=999_999_999),
        queue_alert_oldest_s=read.number("QUEUE_ALERT_OLDEST", default=60.0, low=0, high=86_400),
        dead_letter_days=read.integer("DEAD_LETTER_DAYS", default=14, low=1, high=3650),
        dead_letter_redrives=read.integer("DEAD_LETTER_REDRIVES", default=0, low=0, high=100),
        audit_days=read.integer("AUDIT_DAYS", default=365, low=1, high=36_500),
        audit_spool=Path(read.text("AUDIT_SPOOL", default=str(home / "audit-spool"))),
        sandbox=read.choice("SMSBLOSSOM_SANDBOX", ("0", "1"), default="0") == "1",
    )


def environment() -> dict[str, str]:
    """The process's environment, to hand on to children."""
    return dict(os.environ)


def read_local(home: Path = LOCAL_HOME) -> dict[str, str]:
    """What a local run has written down; empty where there was none."""
    try:
        lines = (home / LOCAL_FILE).read_text().splitlines()
    except (FileNotFoundError, PermissionError):
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def write_local(home: Path, values: Mapping[str, str]) -> dict[str, str]:
    """Merge these values into the local file (mode 0600) and return all of it."""
    merged = {**read_local(home), **values}
    home.mkdir(parents=True, exist_ok=True)
    scratch = home / f"{LOCAL_FILE}.new"
    scratch.touch(mode=0o600)
    scratch.write_text("".join(f"{name}={value}\n" for name, value in sorted(merged.items())))
    scratch.replace(home / LOCAL_FILE)
    return merged


def local_secrets(known: Mapping[str, str]) -> dict[str, str]:
    """Fresh secrets for those a local run has not got yet. Never called in production."""
    fresh: dict[str, Callable[[], str]] = {
        "SHOPIFY_API_SECRET": lambda: f"shpss_{secrets.token_hex(16)}",
        "MITTO_CALLBACK_TOKEN": lambda: secrets.token_urlsafe(24),
        "ENCRYPTION_KEYS": lambda: f"1:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}",
        "BLIND_INDEX_KEY": lambda: base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode(),
        "API_TOKEN": lambda: secrets.token_urlsafe(24),
    }
    return {name: make() for name, make in fresh.items() if not known.get(name)}


_SCOPES = (
    "read_customers,write_customers,read_orders,read_fulfillments,read_products,read_inventory,"
    "write_discounts,write_app_proxy"
)


@dataclass(frozen=True, slots=True)
class _Reader:
    environ: Mapping[str, str]

    def text(self, name: str, *, default: str) -> str:
        return self.environ.get(name, "").strip() or default

    def items(self, name: str, example: str, *, default: str = "") -> list[str]:
        found = [item.strip() for item in self.text(name, default=default).split(",") if item.strip()]
        if not found:
            raise SettingError(name, "is not set", example)
        return found

    def secret(self, name: str) -> str:
        value = self.text(name, default="")
        if not value:
            raise SettingError(name, "is not set", "k3pGm-V2o1yQ8sT4uX7z")
        if len(value) < 16 or not re.fullmatch(r"[A-Za-z0-9._~\-]+", value):
            raise SettingError(name, "needs 16 or more letters, digits or ._~-", "k3pGm-V2o1yQ8sT4uX7z")
        return value

    def matching(self, name: str, pattern: str, *, default: str) -> str:
        value = self.text(name, default=default)
        if not re.fullmatch(pattern, value):
            raise SettingError(name, f"is {value!r}", default)
        return value

    def choice(self, name: str, allowed: tuple[_T, ...], *, default: _T) -> _T:
        value = self.text(name, default=default).lower()
        for option in allowed:
            if option == value:
                return option
        raise SettingError(name, f"is {value!r}, not one of {', '.join(allowed)}", default)

    def integer(self, name: str, *, default: int, low: int, high: int) -> int:
        value = self.text(name, default=str(default))
        if not re.fullmatch(r"\d{1,9}", value) or not low <= int(value) <= high:
            raise SettingError(name, f"is {value!r}, not a whole number from {low} to {high}", str(default))
        return int(value)

    def number(self, name: str, *, default: float, low: float, high: float) -> float:
        value = self.text(name, default=str(default))
        if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", value) or not low <= float(value) <= high:
            raise SettingError(name, f"is {value!r}, not a number of seconds from {low} to {high}", str(default))
        return float(value)

    def url(self, name: str, schemes: tuple[str, ...], example: str, *, default: bool = False) -> str:
        value = self.text(name, default=example if default else "")
        if not value:
            raise SettingError(name, "is not set", example)
        parts = urlsplit(value)
        if parts.scheme not in schemes or not (parts.netloc or parts.path):
            raise SettingError(name, f"is not a {' or '.join(schemes)} address", example)
        return value

    def optional_url(self, name: str, schemes: tuple[str, ...]) -> str | None:
        example = "postgresql://smsblossom_owner:secret@localhost/smsblossom"
        return self.url(name, schemes, example) if self.environ.get(name) else None

    def key(self, name: str) -> bytes:
        return _key(name, self.items(name, EXAMPLE_KEY)[0])

    def keys(self, name: str) -> tuple[EncryptionKey, ...]:
        example = f"1:{EXAMPLE_KEY}"
        found = []
        for item in self.items(name, example):
            number, colon, encoded = item.partition(":")
            if not colon or not re.fullmatch(r"\d{1,3}", number) or not 0 <= int(number) <= 255:
                raise SettingError(name, "needs NUMBER:KEY items (0 to 255)", example)
            found.append(EncryptionKey(int(number), _key(name, encoded)))
        if len({key.key_id for key in found}) != len(found):
            raise SettingError(name, "names the same key number twice", example)
        return tuple(found)


def _key(name: str, encoded: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingError(name, f"is not {KEY_BYTES} bytes in base64", EXAMPLE_KEY)
    return key
