"""The API is what its own document says: every address asks for the token and answers with documented statuses."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from smsblossom.api.app import ENDPOINTS
from tests.support import servers as support
from tests.support.operated import Answer, Operated, operated
from tests.support.servers import TestServers

FORMS = {"queue": "events", "job_id": "no-such-job", "letter": "no-such-letter"}
OPERATIONS = [(endpoint.method, endpoint.path) for endpoint in ENDPOINTS]
NAMES = [f"{method} {path}" for method, path in OPERATIONS]


@pytest.fixture(scope="module")
async def service(
    servers: TestServers, worker_number: int, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Operated]:
    database = await support.clone(servers, f"{servers.template}_contract_{worker_number}")
    redis_url = support.redis_database(servers.redis_url, 8 + worker_number)
    folder: Path = tmp_path_factory.mktemp("contract")
    try:
        async with operated(database, redis_url, folder) as started:
            await started.clear()
            yield started
    finally:
        await support.drop(servers, database)


@pytest.fixture(scope="module")
async def document(service: Operated) -> Any:
    answer = await service.ask("GET", "/openapi.json", token=None)
    assert answer.status == 200
    return answer.body


def test_the_document_names_every_route_and_no_other(document: Any) -> None:
    named = {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert document["openapi"] == "3.1.0"
    assert named == set(OPERATIONS)


def test_every_reference_of_the_document_leads_somewhere(document: Any) -> None:
    components = document["components"]["schemas"]
    found = _references(document)
    assert found
    assert {name for name in found if name.rpartition("/")[2] not in components} == set()


def test_operations_have_names_of_their_own(document: Any) -> None:
    ids = [operation["operationId"] for operations in document["paths"].values() for operation in operations.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("token", [None, "", "wrong-token-of-the-tests", "api-token-of-the-test"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=NAMES)
async def test_without_the_token_there_is_401(service: Operated, method: str, path: str, token: str | None) -> None:
    answer = await service.ask(method, path.format(**FORMS), token=token, body={})
    _check_problem(answer, 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_other_schemes_than_bearer_are_refused(service: Operated) -> None:
    headers = {"Authorization": "Basic api-token-of-the-tests"}
    async with service.session.get(f"{service.url}/api/v1/queues", headers=headers) as answer:
        assert answer.status == 401


@pytest.mark.parametrize(
    ("query", "body"),
    [
        pytest.param("", {}, id="nothing"),
        pytest.param("?limit=0&state=odd&offset=-1", b"{", id="malformed"),
        pytest.param("?surprise=1", {"surprise": 1}, id="unknown"),
        pytest.param("", {"state": "completed", "older_than_s": 1, "job_id": "x"}, id="half right"),
        pytest.param("", b"[]", id="a list"),
        pytest.param("", b'"\xff"', id="no text"),
    ],
)
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=NAMES)
async def test_answers_are_documented(
    service: Operated, document: Any, method: str, path: str, query: str, body: Any
) -> None:
    answer = await service.ask(method, path.format(**FORMS) + query, body=body)
    documented = document["paths"][f"/api/v1{path}"][method.lower()]["responses"]
    assert str(answer.status) in documented
    assert answer.content_type in documented[str(answer.status)]["content"]
    assert answer.status < 500
    if answer.status >= 400:
        _check_problem(answer, answer.status)


@pytest.mark.parametrize(("method", "path"), [op for op in OPERATIONS if "{queue}" in op[1]])
async def test_an_unknown_queue_is_404_everywhere(service: Operated, method: str, path: str) -> None:
    body = {"state": "completed", "older_than_s": 1} if path.endswith("clean") else {}
    answer = await service.ask(method, path.format(**{**FORMS, "queue": "evnets"}), body=body)
    _check_problem(answer, 404)
    assert "'evnets'" in answer.body["detail"]
    assert "events" in answer.body["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/nothing/here", 404, id="unknown address"),
        pytest.param("PATCH", "/queues", 405, id="wrong method"),
    ],
)
async def test_what_is_not_there_is_a_problem_too(service: Operated, method: str, path: str, status: int) -> None:
    _check_problem(await service.ask(method, path), status)


async def test_the_request_id_is_the_callers(service: Operated) -> None:
    headers = {"X-Request-Id": "mine-1", "Authorization": "Bearer nobody-knows-this"}
    async with service.session.get(f"{service.url}/api/v1/queues", headers=headers) as answer:
        assert (await answer.json(content_type=None))["request_id"] == "mine-1"
        assert answer.headers["X-Request-Id"] == "mine-1"


def _check_problem(answer: Answer, status: int) -> None:
    assert answer.status == status
    assert answer.content_type == "application/problem+json"
    assert set(answer.body) == {"type", "title", "status", "detail", "request_id"}
    assert answer.body["status"] == status
    assert answer.body["request_id"] == answer.headers["X-Request-Id"]
    assert "\n" not in answer.body["detail"]


def _references(part: Any) -> set[str]:
    text = json.dumps(part)
    return {piece.split('"')[0] for piece in text.split('"$ref": "')[1:]}
