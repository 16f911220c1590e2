"""GET openapi.json: a valid document with every request and answer of the agent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from openapi_spec_validator import OpenAPIV31SpecValidator

from agent import config, create_app
from agent.api.openapi import description
from agent.api.openapi.build import document as put_together
from agent.errors import AgentError
from agent.server.refusals import REFUSALS
from tests.agent_process import PREFIX, AgentProcess
from tests.conformance.shapes import assert_error, assert_json

PATH = "/openapi.json"
ACTIONS = "/api/3/stacks/{stack}/actions"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """The application of a node that offers every kind without a server."""
    return create_app(
        config.parse(
            {
                "agent": {
                    "db": str(tmp_path_factory.mktemp("app") / "agent.db"),
                    "stack": "blue",
                    "kinds": ["tests.conformance.secretive"],
                },
                "service": {"unit": "redis.service"},
                "datastore": {"kind": "redis", "url": "unix:///nowhere"},
                "external_actions": {"a/b.c": {"action": ["true"], "check": ["true"]}},
            }
        )
    )


@pytest.fixture(scope="module")
def document(app: Flask) -> Any:
    return app.test_client().get(PATH).json


@pytest.fixture(scope="module")
def available(app: Flask) -> Any:
    return app.test_client().get(f"{PREFIX}/available").json


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    """Path, method and description of every operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def resolved(document: Any, response: Any) -> Any:
    """The response behind a reference."""
    reference = response.get("$ref")
    return document["components"]["responses"][reference.rpartition("/")[2]] if reference else response


def test_the_document_is_openapi_3_1(document: Any) -> None:
    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_route_describes_itself(app: Flask) -> None:
    for endpoint, view in app.view_functions.items():
        assert description.of(view).summary, endpoint


def test_document_has_every_route_of_both_wires(document: Any) -> None:
    found = {
        (path, method) for path, method, _ in operations(document) if "/schedule/" not in path and "/plan/" not in path
    }
    assert found == {
        (f"{PREFIX}/finished", "get"),
        (f"{PREFIX}/", "get"),
        *((f"/api/unstable/{name}", "get") for name in ("info/agent", "info/datastore", "shards")),
        *((f"/{name}", "get") for name in ("live", "ready", "health", "metrics")),
        (f"{PREFIX}/approve/{{action_id}}", "post"),
        (f"{PREFIX}/output/{{action_id}}", "get"),
        (f"{PREFIX}/queue", "get"),
        (f"{PREFIX}/list", "get"),
        (f"{PREFIX}/available", "get"),
        (f"{PREFIX}/info/{{action_id}}", "get"),
        (f"{PREFIX}/cancel/{{action_id}}", "post"),
        ("/api/unstable/datastore", "get"),
        ("/api/unstable/events", "get"),
        ("/api/unstable/whoami", "get"),
        *((ACTIONS + suffix, method) for suffix in ("", ".json") for method in ("get", "post")),
        *((f"{ACTIONS}/{{action_id}}{suffix}", "get") for suffix in ("", ".json")),
        *((f"{ACTIONS}/{{action_id}}/cancel{suffix}", "post") for suffix in ("", ".json")),
        ("/hooks/deploy/{application}", "post"),
        (PATH, "get"),
    }


def test_every_kind_has_a_path_with_its_arguments(available: Any, document: Any) -> None:
    assert {"replicante.test.ping", "tests.secretive", "external.a/b.c"} <= {kind["kind"] for kind in available}
    for kind in available:
        operation = document["paths"][f"{PREFIX}/schedule/{kind['kind']}"]["post"]
        assert operation["requestBody"]["content"] == {"application/json": {"schema": kind["args"]}}
        assert operation["summary"] == kind["description"]
    scheduled = [path for path in document["paths"] if "/schedule/" in path]
    assert len(scheduled) == len(available) + 1
    assert f"{PREFIX}/schedule/{{kind}}" in scheduled


def test_every_kind_is_a_command_of_the_async_actions(available: Any, document: Any) -> None:
    content = document["paths"][ACTIONS]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "application/x-www-form-urlencoded"}
    for media_type in content.values():
        commands = [each["properties"]["command"]["const"] for each in media_type["schema"]["oneOf"]]
        assert commands == [kind["kind"] for kind in available]
        assert all("command" in each["required"] for each in media_type["schema"]["oneOf"])


def test_document_has_every_error(document: Any) -> None:
    message = {
        (int(status), text.split()[-1])
        for _, _, operation in operations(document)
        for status, response in operation["responses"].items()
        for text in resolved(document, response)["description"].split(":")
    }
    assert {(error.status, error.__name__) for error in AgentError.__subclasses__()} <= message


def test_every_operation_has_the_refusals_of_the_server(document: Any) -> None:
    everywhere = {str(status.value) for _, status in REFUSALS} | {"405", "500", "503"}
    for path, method, operation in operations(document):
        assert everywhere <= set(operation["responses"]), (path, method)


def test_every_error_has_the_same_schema(document: Any) -> None:
    shape = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path, method, operation in operations(document):
        errors = {status: each for status, each in operation["responses"].items() if status not in ("200", "304")}
        for status, response in errors.items():
            assert resolved(document, response)["content"] == shape, (path, method, status)
    assert set(document["components"]["schemas"]["Error"]["required"]) == {"error", "layers", "variant"}


SCHEDULE = {"Idempotency-Key", "From", "Action-Reason", "Not-Before", "Not-After", "X-Request-Id", "traceparent"}


@pytest.mark.parametrize(
    ("path", "method", "headers"),
    [
        (f"{PREFIX}/schedule/{{kind}}", "post", SCHEDULE),
        (f"{PREFIX}/schedule/replicante.test.ping", "post", SCHEDULE),
        (ACTIONS, "post", SCHEDULE),
        (f"{PREFIX}/info/{{action_id}}", "get", {"If-None-Match", "Prefer"}),
        ("/hooks/deploy/{application}", "post", {"X-Hub-Signature-256", "X-GitHub-Event"}),
        (PATH, "get", {"If-None-Match"}),
    ],
)
def test_document_has_the_request_headers(document: Any, path: str, method: str, headers: set[str]) -> None:
    parameters = document["paths"][path][method]["parameters"]
    assert {each["name"] for each in parameters if each["in"] == "header"} == headers


def test_document_has_the_response_headers(document: Any) -> None:
    responses = document["paths"][f"{PREFIX}/info/{{action_id}}"]["get"]["responses"]
    assert set(responses["200"]["headers"]) == {"ETag", "Cache-Control", "Preference-Applied"}
    assert set(responses["304"]["headers"]) == {"ETag", "Cache-Control"}
    responses = document["paths"][f"{PREFIX}/schedule/{{kind}}"]["post"]["responses"]
    assert "Retry-After" in responses["429"]["headers"]
    assert "Retry-After" in resolved(document, responses["503"])["headers"]
    assert "Allow" in resolved(document, responses["405"])["headers"]


def test_secret_argument_is_write_only(document: Any) -> None:
    operation = document["paths"][f"{PREFIX}/schedule/tests.secretive"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["password"]["writeOnly"] is True


def test_stack_parameter_is_that_of_this_node(document: Any) -> None:
    stack = document["paths"][ACTIONS]["get"]["parameters"][0]
    assert (stack["name"], stack["schema"]) == ("stack", {"const": "blue"})


TLS = {"certificate": "/nowhere", "key": "/nowhere", "clients_ca": "/nowhere"}


@pytest.mark.parametrize(
    ("api", "security", "hook_security"),
    [
        ({}, [], []),
        ({"tokens": "/nowhere"}, [{"token": []}], []),
        ({"tokens": "/nowhere", "tls": TLS}, [{"certificate": []}], [{"certificate": []}]),
    ],
)
def test_document_has_the_security_schemes(tmp_path: Path, api: Any, security: Any, hook_security: Any) -> None:
    app = create_app(config.parse({"agent": {"db": str(tmp_path / "agent.db")}, "api": api}))
    with app.test_request_context():
        document = put_together()
    OpenAPIV31SpecValidator(document).validate()
    assert document["security"] == security
    assert list(document["components"]["securitySchemes"]) == [name for scheme in security for name in scheme]
    assert document["paths"]["/hooks/deploy/{application}"]["post"]["security"] == hook_security
    assert "security" not in document["paths"][f"{PREFIX}/queue"]["get"]


def test_document_is_built_by_the_first_request(tmp_path: Path) -> None:
    app = create_app(config.parse({"agent": {"db": str(tmp_path / "agent.db")}}))
    assert "agent.openapi" not in app.extensions
    client = app.test_client()
    assert client.get(PATH).data == client.get(PATH).data
    assert "agent.openapi" in app.extensions


def test_unchanged_document_is_answered_with_304(shared_agent: AgentProcess) -> None:
    answer = shared_agent.get(PATH)
    assert_json(answer)
    tag = answer.headers["ETag"]
    again = shared_agent.get(PATH, headers={"If-None-Match": tag})
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    other = shared_agent.get(PATH, headers={"If-None-Match": '"other"'})
    assert (other.status, other.body) == (200, answer.body)


def test_the_document_is_read_only(shared_agent: AgentProcess) -> None:
    answer = shared_agent.post(PATH, json={})
    assert_error(answer, 405)
    assert "GET" in answer.headers["Allow"]


def inside(part: Any) -> Iterator[dict[str, Any]]:
    """Every object of the document."""
    if isinstance(part, dict):
        yield part
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from inside(each)


def test_patterns_are_valid_in_ecma_262_and_enums_have_one_type(document: Any) -> None:
    patterns = {each["pattern"] for each in inside(document) if isinstance(each.get("pattern"), str)}
    assert len(patterns) >= 3
    for pattern in patterns:
        assert not re.search(r"\\[AZz]|\(\?[Piax<]|\+\+|\*\+", pattern), pattern
    for each in inside(document):
        if isinstance(values := each.get("enum"), list):
            assert len({type(value) for value in values if value is not None}) == 1, values


def test_every_query_parameter_is_described_and_the_server_named(document: Any) -> None:
    described = [each for each in inside(document) if each.get("in") == "query"]
    assert len(described) > 15 and all(each["description"] for each in described)
    assert [server["url"] for server in document["servers"]] == ["/"]


VERBS = ("approve", "cancel", "create", "get", "list", "plan", "receive", "schedule")


def schemas_in(part: Any) -> Iterator[Any]:
    """Every object of the document; schemas are among them."""
    if isinstance(part, dict):
        yield part
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from schemas_in(each)


def test_operation_ids_are_unique_and_begin_with_a_verb(document: Any) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert [each for each in ids if each.partition("_")[0] not in VERBS] == []
    assert len(ids) == len(set(ids))


def test_no_enum_has_values_of_several_types(document: Any) -> None:
    enums = [each["enum"] for each in schemas_in(document) if isinstance(each.get("enum"), list)]
    assert len(enums) > 5
    assert [each for each in enums if len({type(value) for value in each}) > 1] == []


def test_shared_schemas_are_components(document: Any) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["Info"]["properties"]["action"]["$ref"] == "#/components/schemas/Action"
    assert schemas["Action"]["properties"]["state"]["$ref"] == "#/components/schemas/State"
    inner = [each for name, schema in schemas.items() for each in schemas_in(schema.get("properties", {}))]
    assert [each for each in inner if "properties" in each and each.get("type") == "object"] == []


def test_an_outcome_may_be_null(document: Any) -> None:
    outcome = document["components"]["schemas"]["Action"]["properties"]["outcome"]["anyOf"]
    assert outcome == [{"$ref": "#/components/schemas/Outcome"}, {"type": "null"}]
