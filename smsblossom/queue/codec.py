"""The bytes of a job and of a result: MessagePack in stock arq's shape, never pickle.

A stock arq client or worker made with `dumps` and `loads` reads and writes the same bytes.
"""

import traceback
from typing import Any

import msgspec

MAX_JOB_BYTES = 100 * 1024


class JobTooLarge(ValueError):  # noqa: N818
    """The encoded job is above 100 KB. Jobs carry ids; the data belongs into a row."""


class Envelope(msgspec.Struct, omit_defaults=True):
    """A job as stored: arq's five fields, then ours, which a stock worker ignores.

    `t` attempts so far (stock) · `f` function · `a` arguments · `k` keyword arguments · `et` enqueued, ms ·
    `p` priority · `x` not to be started after, ms · `pj`, `pq` the parent job and its queue.
    """

    f: str
    a: tuple[msgspec.Raw, ...]
    k: dict[str, Any]
    et: int
    t: int | None = None
    p: str | None = None
    x: int | None = None
    pj: str | None = None
    pq: str | None = None


class JobFailure(msgspec.Struct, frozen=True):
    """A stored exception."""

    type: str
    message: str
    trace: str = ""


class JobFailed(Exception):  # noqa: N818
    """Raised by stock arq's `Job.result()` for a job that failed; carries what was stored of the exception."""

    def __init__(self, failure: JobFailure) -> None:
        super().__init__(f"{failure.type}: {failure.message}")
        self.failure = failure


_FAILURE_KEY = "__failure__"


def _encode_other(value: object) -> object:
    if isinstance(value, BaseException):
        return {_FAILURE_KEY: failure_of(value)}
    msg = f"a job cannot carry a {type(value).__name__}"
    raise TypeError(msg)


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_other)
_decoder = msgspec.msgpack.Decoder()
_envelopes = msgspec.msgpack.Decoder(Envelope)


def failure_of(error: BaseException, *, trace_limit: int = 20) -> JobFailure:
    """The exception as values; the trace keeps its innermost frames."""
    if isinstance(error, JobFailed):
        return error.failure
    lines = traceback.format_exception(error, limit=-trace_limit)
    return JobFailure(type(error).__name__, str(error), "".join(lines)[-8_000:])


def dumps(value: dict[str, Any]) -> bytes:
    """`job_serializer` for a stock arq client or worker."""
    return _encoder.encode(value)


def loads(raw: bytes) -> dict[str, Any]:
    """`job_deserializer` for a stock arq client or worker; a stored failure comes back as `JobFailed`."""
    value: dict[str, Any] = _decoder.decode(raw)
    result = value.get("r")
    if isinstance(result, dict) and _FAILURE_KEY in result:
        value["r"] = JobFailed(msgspec.convert(result[_FAILURE_KEY], JobFailure))
    return value


def encode(value: object) -> bytes:
    return _encoder.encode(value)


def encode_job(
    function: str,
    payload: object,
    *,
    enqueued_ms: int,
    priority: str | None = None,
    expires_ms: int | None = None,
    parent: tuple[str, str] | None = None,
) -> bytes:
    """The bytes of one job with one argument. Raises `JobTooLarge`."""
    fields: dict[str, object] = {"t": None, "f": function, "a": (payload,), "k": {}, "et": enqueued_ms}
    if priority is not None:
        fields["p"] = priority
    if expires_ms is not None:
        fields["x"] = expires_ms
    if parent is not None:
        fields["pq"], fields["pj"] = parent
    raw = _encoder.encode(fields)
    if len(raw) > MAX_JOB_BYTES:
        msg = f"{function} is {len(raw)} bytes; a job may have {MAX_JOB_BYTES}: store the data and pass its id"
        raise JobTooLarge(msg)
    return raw


def decode_job(raw: bytes) -> Envelope:
    """Raises `msgspec.DecodeError` (`ValidationError` included) when the bytes are no job."""
    return _envelopes.decode(raw)
