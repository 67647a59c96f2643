"""Mitto's classic SMS API: `POST /sms` with `X-Mitto-API-Key`.

Sources: docs.mitto.ch (SMS API reference, use cases), the OpenAPI of ballerina-platform/openapi-connectors, Mitto's
page on RapidAPI. HTTP 200 is no acceptance: `responseCode` 0 is.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import httpx
import msgspec

from smsblossom.sms import http
from smsblossom.sms.provider import Accepted, Capabilities, ErrorClass, Outbound, Outcome, Refused, Unknown

VALIDITY_MINUTES: Final = (1, 2880)
_REFUSALS: Final = {
    2: ErrorClass.PERMANENT_CONTENT,
    3: ErrorClass.PERMANENT_CONTENT,
    4: ErrorClass.PERMANENT_CONTENT,
    5: ErrorClass.SENDER_CONFIG,
    6: ErrorClass.SENDER_CONFIG,
    7: ErrorClass.PERMANENT_RECIPIENT,
    8: ErrorClass.PERMANENT_RECIPIENT,
}
"""Mitto's response codes. 1, "internal error", is not here: it does not say whether the text was taken."""


class _Answer(msgspec.Struct):
    responseCode: int  # noqa: N815 - Mitto's spelling
    id: str | None = None


class MittoClassic:
    """One Mitto account on the classic API."""

    name: Final = "mitto"
    capabilities: Final = Capabilities(
        bulk_max=1, bulk_personalised=False, client_reference=True, poll_status=False, signed_callbacks=False
    )

    def __init__(self, client: httpx.AsyncClient, *, api_key: str, callback_url: str) -> None:
        self._client = client
        self._headers = {"X-Mitto-API-Key": api_key, "Content-Type": "application/json"}
        self._callback_url = callback_url

    async def send(self, texts: Sequence[Outbound]) -> list[Outcome]:
        """One call a text: the bulk call of this API shares one text among all receivers."""
        return [await self._send(text) for text in texts]

    async def _send(self, text: Outbound) -> Outcome:
        content = msgspec.json.encode(self._request(text))
        try:
            response = await self._client.post("/sms", content=content, headers=self._headers)
        except http.FAULTS as error:
            return http.outcome_of_fault(error)
        return classify(response.status_code, response.headers.get("Retry-After"), response.content)

    def _request(self, text: Outbound) -> dict[str, Any]:
        shortest, longest = VALIDITY_MINUTES
        return {
            "from": text.sender,
            "to": text.to.removeprefix("+"),
            "text": text.text,
            "type": text.encoding.value,
            "reference": text.reference,
            "callback": self._callback_url,
            "validity": min(longest, max(shortest, int(text.validity / timedelta(minutes=1)))),
        }


def classify(status: int, retry_after: str | None, body: bytes) -> Outcome:
    """What an answer says about its text. A 2xx that cannot be read, and any 5xx, may hide an acceptance."""
    if status == 429:
        return Refused(ErrorClass.THROTTLED, "http_429", _seconds(retry_after))
    if status in {401, 403}:
        return Refused(ErrorClass.ACCOUNT, f"http_{status}", timedelta(seconds=60))
    if 400 <= status < 500:
        return Refused(ErrorClass.PERMANENT_CONTENT, f"http_{status}")
    if not 200 <= status < 300:
        return Unknown(f"http_{status}")
    try:
        answer = msgspec.json.decode(body, type=_Answer, strict=False)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return Unknown("unreadable_answer")
    if answer.responseCode == 0:
        return Accepted(answer.id) if answer.id else Unknown("accepted_without_id")
    refusal = _REFUSALS.get(answer.responseCode)
    code = f"mitto_{answer.responseCode}"
    return Unknown(code) if refusal is None else Refused(refusal, code)


def _seconds(retry_after: str | None) -> timedelta | None:
    if retry_after is None or not retry_after.isascii() or not retry_after.isdigit():
        return None
    return timedelta(seconds=min(int(retry_after), 3600))
