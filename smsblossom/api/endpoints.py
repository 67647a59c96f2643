"""One endpoint: its address, its coroutine, and what it reads and answers by the coroutine's own types.

The routes and the OpenAPI document are both made from these, so that neither can say what the other does not do.
"""

import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import msgspec
from aiohttp import web

from smsblossom.api.problems import Answer
from smsblossom.bootstrap import Runtime
from smsblossom.jobs import QueueName
from smsblossom.usecases.manage import Refused
from smsblossom.usecases.queues import Operator, queue_named, spoken_error
from webhooks.state import REQUEST_ID, RUNTIME

LARGEST_BODY: Final = 128 * 1024
QUOTE: Final = chr(34)
Method = Literal["GET", "POST", "DELETE"]


@dataclass(frozen=True, slots=True)
class Call:
    """What a coroutine is told about the request it answers."""

    request: web.Request

    @property
    def runtime(self) -> Runtime:
        return self.request.config_dict[RUNTIME]

    @property
    def queue(self) -> QueueName:
        """The `{queue}` of the address. Raises `NotFound`."""
        return queue_named(self.request.match_info["queue"])

    @property
    def job_id(self) -> str:
        return self.request.match_info["job_id"]

    @property
    def letter(self) -> str:
        return self.request.match_info["letter"]

    @property
    def operator(self) -> Operator:
        return Operator(actor="api", ip=self.request.remote, request_id=self.request[REQUEST_ID])


@dataclass(frozen=True)
class Endpoint:
    """One route of the API. `problems`: the statuses it may answer beside 401, 500, 503 and what its inputs imply."""

    method: Method
    path: str
    coroutine: Callable[..., Awaitable[msgspec.Struct]]
    status: int = 200
    problems: tuple[int, ...] = ()

    @cached_property
    def _types(self) -> dict[str, Any]:
        return typing.get_type_hints(self.coroutine)

    @property
    def query(self) -> type[msgspec.Struct] | None:
        return self._types.get("query")

    @property
    def body(self) -> type[msgspec.Struct] | None:
        return self._types.get("body")

    @property
    def answer(self) -> type[msgspec.Struct]:
        answer: type[msgspec.Struct] = self._types["return"]
        return answer

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self.coroutine) or "").split("\n\n")[0].replace("\n", " ")

    @property
    def path_parameters(self) -> list[str]:
        return re.findall(r"\{(\w+)\}", self.path)

    @property
    def statuses(self) -> list[int]:
        """Every status this endpoint answers with."""
        implied = {self.status, 401, 500, 503, *self.problems}
        if self.query is not None or self.body is not None:
            implied.add(400)
        if self.body is not None:
            implied.add(413)
        if self.path_parameters:
            implied.add(404)
        return sorted(implied)

    def route(self) -> web.RouteDef:
        return web.route(self.method, self.path, self.handle)

    async def handle(self, request: web.Request) -> web.Response:
        """Read what the coroutine asks for, call it, write what it returns."""
        given: dict[str, msgspec.Struct] = {}
        if self.query is not None:
            given["query"] = read_query(request.query, self.query)
        if self.body is not None:
            given["body"] = await read_body(request, self.body)
        answer = await self.coroutine(Call(request), **given)
        return web.Response(
            status=self.status, body=msgspec.json.encode(answer), content_type="application/json", charset="utf-8"
        )


def read_query(query: Mapping[str, str], wanted: type[msgspec.Struct]) -> msgspec.Struct:
    """The query's parameters as a value. Raises `Refused`, naming the parameter."""
    strange = sorted(set(query) - set(wanted.__struct_fields__))
    if strange:
        raise Refused(f"{strange[0]}: there is no such parameter; there are {', '.join(wanted.__struct_fields__)}")
    try:
        return msgspec.convert(dict(query), wanted, strict=False)
    except msgspec.ValidationError as error:
        raise _refusal(error, wanted, lambda name, example: f"{name}={example.strip(QUOTE)}") from error


async def read_body(request: web.Request, wanted: type[msgspec.Struct]) -> msgspec.Struct:
    """The JSON body as a value; none counts as `{}`. Raises `Refused`, naming the field, and 413 when too large."""
    if (request.content_length or 0) > LARGEST_BODY:
        raise _too_large()
    raw = await _read(request)
    try:
        return msgspec.json.decode(raw or b"{}", type=wanted)
    except msgspec.ValidationError as error:
        raise _refusal(error, wanted, lambda name, example: f'{{"{name}": {example}}}') from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"body: not JSON; for example {_example_body(wanted)}") from error


async def _read(request: web.Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > LARGEST_BODY:
            raise _too_large()
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large() -> Answer:
    # The rest of the body is not read, so the connection cannot be used again.
    return Answer(413, f"body: more than {LARGEST_BODY} bytes; a job carries ids", headers={"Connection": "close"})


def _refusal(error: msgspec.ValidationError, wanted: type[msgspec.Struct], spell: Callable[[str, str], str]) -> Refused:
    line = spoken_error(error)
    name = line.partition(":")[0].partition(".")[0].partition("[")[0]
    example = examples(wanted).get(name)
    return Refused(f"{line}; for example {spell(name, example)}" if example else line)


def _example_body(wanted: type[msgspec.Struct]) -> str:
    return "{" + ", ".join(f'"{name}": {example}' for name, example in examples(wanted).items()) + "}"


def examples(wanted: type[msgspec.Struct]) -> dict[str, str]:
    """The first example of each field that has one, as JSON."""
    _, components = msgspec.json.schema_components([wanted])
    fields = components[wanted.__name__].get("properties", {})
    found = {name: _example_of(schema) for name, schema in fields.items()}
    return {name: msgspec.json.encode(example).decode() for name, example in found.items() if example is not None}


def _example_of(schema: dict[str, Any]) -> Any:
    """A field that may be null has its example beside the other alternative."""
    for part in (schema, *schema.get("anyOf", ())):
        if part.get("examples"):
            return part["examples"][0]
    return None
