"""The OpenAPI 3.1 document, made from the endpoints and the types they read and answer."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from smsblossom.api.endpoints import Endpoint
from smsblossom.api.problems import MEDIA_TYPE, Problem
from smsblossom.jobs import QueueName

BASE: Final = "/api/v1"
_REF: Final = "#/components/schemas/{name}"


def document(endpoints: Sequence[Endpoint], *, version: str, server: str) -> dict[str, Any]:
    """The description of these endpoints, as builtins ready for JSON."""
    types: set[type[msgspec.Struct]] = {Problem}
    types.update(kind for e in endpoints for kind in (e.answer, e.body, e.query) if kind is not None)
    ordered = sorted(types, key=lambda kind: kind.__name__)
    references, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    schema_of = dict(zip(ordered, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(BASE + endpoint.path, {})[endpoint.method.lower()] = _operation(
            endpoint, schema_of, components
        )
    queries = {endpoint.query.__name__ for endpoint in endpoints if endpoint.query is not None}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "SMS Blossom operator API",
            "version": version,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": server}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in components.items() if name not in queries},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "the setting API_TOKEN"},
            },
        },
    }


def _operation(
    endpoint: Endpoint, schema_of: dict[type[msgspec.Struct], dict[str, Any]], components: dict[str, Any]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.coroutine.__module__.rpartition('.')[2]}.{endpoint.coroutine.__name__}",
        "summary": endpoint.summary,
        "tags": [endpoint.path.split("/")[1]],
        "responses": {str(status): _response(endpoint, status, schema_of) for status in endpoint.statuses},
    }
    parameters = [_path_parameter(name) for name in endpoint.path_parameters]
    if endpoint.query is not None:
        parameters += _query_parameters(components[endpoint.query.__name__])
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        is_needed = bool(components[endpoint.body.__name__].get("required"))
        content = {"application/json": {"schema": schema_of[endpoint.body]}}
        operation["requestBody"] = {"required": is_needed, "content": content}
    return operation


def _response(endpoint: Endpoint, status: int, schema_of: dict[type[msgspec.Struct], dict[str, Any]]) -> dict[str, Any]:
    kind, media_type = (endpoint.answer, "application/json") if status == endpoint.status else (Problem, MEDIA_TYPE)
    return {"description": HTTPStatus(status).phrase, "content": {media_type: {"schema": schema_of[kind]}}}


def _path_parameter(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if name == "queue":
        schema["enum"] = [*QueueName]
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(schema: dict[str, Any]) -> list[dict[str, Any]]:
    needed = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in needed, "schema": described}
        for name, described in schema["properties"].items()
    ]
