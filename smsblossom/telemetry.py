"""Logs and metrics.

Logs are structlog lines with a constant event name and facts as fields; the request id is bound once at the edge.
Personal data never reaches either: callers pass ids, and the filter below is the last fence.
"""

import asyncio
import atexit
import json
import logging
import re
import sys
import threading
from collections.abc import MutableMapping
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, BinaryIO, Final, Literal, cast

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from structlog.tracebacks import ExceptionDictTransformer

LATENCY_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Every metric of the service, on a registry of its own. Labels are outcomes and names, never shops or phones."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        seconds = partial(Histogram, registry=self.registry, buckets=LATENCY_BUCKETS)
        rows = partial(Histogram, registry=self.registry, buckets=BATCH_BUCKETS)

        self.requests = counter("smsblossom_http_requests", "Requests by area and status", ["area", "status"])
        self.webhooks = counter("smsblossom_webhooks", "Webhook requests by answer", ["caller", "answer"])
        self.webhook_batch = rows("smsblossom_webhook_batch_rows", "Webhooks that shared one insert")
        self.webhook_seconds = seconds("smsblossom_webhook_seconds", "Time to a durable row")
        self.events = counter("smsblossom_events", "Inbox rows by topic and end", ["topic", "state"])
        self.decisions = counter("smsblossom_decisions", "Decisions by verdict and reason", ["verdict", "reason"])
        self.submissions = counter("smsblossom_submissions", "Provider calls by outcome", ["provider", "outcome"])
        self.submission_seconds = seconds("smsblossom_submission_seconds", "Provider call duration", ["provider"])
        self.path_seconds = seconds(
            "smsblossom_webhook_to_provider_seconds", "From the webhook's arrival to the provider's acceptance"
        )
        self.receipts = counter("smsblossom_receipts", "Delivery reports by status and effect", ["status", "effect"])
        self.inbound = counter("smsblossom_inbound", "Inbound texts by keyword", ["keyword"])
        self.swept = counter("smsblossom_swept", "Rows that the sweeper set going again", ["kind"])
        self.jobs = counter("smsblossom_jobs", "Jobs by outcome", ["queue", "function", "outcome"])
        self.job_seconds = seconds("smsblossom_job_seconds", "Job duration", ["queue", "function"])
        self.job_lag_seconds = seconds("smsblossom_job_lag_seconds", "From a job's due time to its start", ["queue"])
        self.queue_oldest_seconds = gauge("smsblossom_queue_oldest_seconds", "Age of the oldest due job", ["queue"])
        self.loop_errors = counter("smsblossom_unhandled_errors", "Errors nobody caught", ["where"])


@lru_cache(maxsize=1000)
def labelled(counter: Counter, *values: str) -> Counter:
    """The counter of these label values, remembered: `labels` takes a lock and, by keyword, ten times as long."""
    return counter.labels(*values)


def configure_logging(level: str, form: Literal["json", "console"]) -> None:
    """Log to standard error, one line per event."""
    # Locals would hold decrypted phones and texts. Rich tracebacks show them, so the console has plain ones.
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    renderer: Any = _json_line if form == "json" else console
    printed: Any = structlog.PrintLoggerFactory(file=sys.stderr)
    written: Any = structlog.BytesLoggerFactory(file=cast("BinaryIO", OncePerTurn(sys.stderr.buffer)))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
            if form == "json"
            else structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=written if form == "json" else printed,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_ToStructlog()], force=True)


class OncePerTurn:
    """A stream that is written once per turn of the event loop: under load many lines share one system call.

    Outside a loop, and at the end of the process, it is written at once. What cannot be written stops nothing.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lines: list[bytes] = []
        self._lock = threading.Lock()
        self._turn_of: asyncio.AbstractEventLoop | None = None
        atexit.register(self._write_out)

    def write(self, line: bytes) -> None:
        with self._lock:
            self._lines.append(line)

    def flush(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._write_out()
            return
        if self._turn_of is not loop:
            self._turn_of = loop
            loop.call_soon(self._write_out)

    def _write_out(self) -> None:
        with self._lock, suppress(OSError, ValueError):
            lines, self._lines, self._turn_of = self._lines, [], None
            self._file.write(b"".join(lines))
            self._file.flush()


_encode: Final = msgspec.json.Encoder(enc_hook=repr).encode


def _json_line(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> bytes:
    """A line is written for every webhook: msgspec, and the slower json for what msgspec refuses (lone surrogates)."""
    try:
        return _encode(event)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return json.dumps(event, default=repr).encode()


_PHONE = re.compile(r"\+?\d[\d\s().\-]{7,}\d")
_EMAIL = re.compile(r"[^\s@\"'<>]+@[^\s@\"'<>]+\.[a-z]{2,}", re.IGNORECASE)


def redact(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank what looks like a phone or an e-mail in error texts, which third parties write."""
    for name in ("error", "exception", "detail"):
        if name in event:
            event[name] = _blank(event[name])
    return event


def blank_personal(text: str) -> str:
    """The text without what looks like a phone or an e-mail."""
    return _EMAIL.sub("[e-mail]", _PHONE.sub("[number]", text))


def _blank(value: Any) -> Any:
    if isinstance(value, str):
        return blank_personal(value)
    if isinstance(value, list):
        return [_blank(item) for item in value]
    if isinstance(value, dict):
        return {name: _blank(item) for name, item in value.items()}
    return value


class _ToStructlog(logging.Handler):
    """What libraries log by the standard library comes out in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger("library")
        log.log(record.levelno, "library.log", logger=record.name, detail=record.getMessage()[:500])
