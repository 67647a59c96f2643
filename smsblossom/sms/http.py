"""HTTP to providers: httpx over aiohttp's transport, and what each fault proves.

Whether a text may be on the wire is read from the exception: only a failure to connect proves that it is not.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from smsblossom.sms.provider import ErrorClass, Refused, Unknown

KEEPALIVE_S = 4.0
"""Idle connections are dropped before a provider would drop them: a stale one makes a false `unknown`."""


@asynccontextmanager
async def open_client(
    base_url: str, *, connect_timeout_s: float, read_timeout_s: float, connections: int = 100
) -> AsyncIterator[httpx.AsyncClient]:
    """A client for one provider account. Redirects are not followed: a POST must not travel on."""
    timeout = httpx.Timeout(read_timeout_s, connect=connect_timeout_s, pool=connect_timeout_s)

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=60)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async with httpx.AsyncClient(
        base_url=base_url, timeout=timeout, transport=AiohttpTransport(client=session), follow_redirects=False
    ) as client:
        yield client


FAULTS: Final = (httpx.HTTPError, aiohttp.ClientError, OSError)
"""All that a call may raise; the transport lets some of aiohttp's own errors through."""


def outcome_of_fault(error: Exception) -> Refused | Unknown:
    """What a failed call says about its text.

    No connection, no text: aiohttp's ClientConnectorError and ConnectionTimeoutError come before a byte is written,
    waiting for a free connection included. All else (read time-outs, resets, broken answers) leaves it open.
    """
    # The transport calls resets and lost connections ConnectTimeout as well: only aiohttp's own error tells them apart.
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) else error
    match cause:
        case aiohttp.ClientConnectorError():
            return Refused(ErrorClass.TRANSIENT, "ConnectError")
        case aiohttp.ConnectionTimeoutError():
            return Refused(ErrorClass.TRANSIENT, "ConnectTimeout")
        case _:
            return Unknown(type(cause or error).__name__)
