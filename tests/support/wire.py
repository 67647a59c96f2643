"""HTTP written by hand, for requests that no client library would send, and servers that no provider would run."""

import asyncio
from urllib.parse import urlsplit


async def raw_post(url: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> int:
    """The status of a POST with exactly these header bytes; Host, Content-Length and Connection are added."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        lines = [f"POST {path} HTTP/1.1".encode(), b"Host: localhost", b"Connection: close"]
        lines += [b"Content-Length: %d" % len(body), *(name + b": " + value for name, value in headers)]
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        await writer.drain()
        async with asyncio.timeout(20):
            answer = await reader.read()
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1])
