"""`GET /openapi.json`: the OpenAPI 3.1 document of this node, from its routes, its kinds and their schemas."""

import hashlib
import json
import re
from collections.abc import Iterator
from urllib.parse import quote

from flask import Blueprint, Response, current_app
from werkzeug.routing import Rule

from agent.api import authentication, conditional, correlation, node_protocol
from agent.api.async_action_form import form
from agent.api.context import context
from agent.api.openapi import components, description
from agent.api.openapi.description import Description, describe
from agent.api.openapi.tables import (
    ANSWER_HEADERS,
    ERRORS_OF_THE_SERVER,
    HEADERS_OF_STATUS,
    OPERATIONS,
    REQUEST_HEADERS,
    Document,
)
from agent.errors import AgentError
from agent.kinds.base import Kind
from agent.kinds.base.json_schema import json_schema

bp = Blueprint("openapi", __name__)

METHODS = ("GET", "POST")
SEPARATOR = re.compile(r"\W+", re.ASCII)
VARIABLE = re.compile(r"<(?:\w+:)?(\w+)>")


@bp.get("/openapi.json")
@describe("This document.", "Document", headers=("If-None-Match",))
def openapi() -> Response:
    """Built by the first request for it."""
    body, tag = current_app.extensions.get("agent.openapi") or _build()
    response = Response(body, content_type="application/json")
    response.headers["Cache-Control"] = "no-cache"
    return conditional.tagged(response, tag)


def _build() -> tuple[bytes, str]:
    body = json.dumps(document(), separators=(",", ":")).encode()
    built = current_app.extensions["agent.openapi"] = body, hashlib.sha256(body).hexdigest()[:32]
    return built


def document() -> Document:
    """The whole document. Raises `KeyError` for a route without a description."""
    paths: dict[str, Document] = {}
    for rule in current_app.url_map.iter_rules():
        for method, operation in _operations(rule):
            for path, variant in _with_kinds(rule, operation):
                paths.setdefault(path, {})[method.lower()] = variant
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "agent",
            "version": "unstable",
            "description": f"The actions of the node {context().settings.agent.node}: waiting, running and final.",
        },
        "servers": [{"url": "/", "description": "The agent that served this document."}],
        "security": _security("certificate", "token"),
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": _security_schemes(),
            "schemas": _schemas(),
            "responses": {str(status): _error(status, variants) for status, variants in _any_route_may().items()},
        },
    }


def _security_schemes() -> dict[str, Document]:
    """The authentication of this node; empty without authentication."""
    api = context().settings.api
    if api.certified:
        return {"certificate": {"type": "mutualTLS", "description": "A client certificate with an e-mail address."}}
    if api.tokens is not None:
        return {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token as printed by `agentctl token create`.",
            }
        }
    return {}


def _security(*accepted: str) -> list[Document]:
    return [{name: []} for name in _security_schemes() if name in accepted]


def _operations(rule: Rule) -> Iterator[tuple[str, Document]]:
    view = current_app.view_functions[rule.endpoint]
    for method in METHODS:
        if method in (rule.methods or ()) and description.of(view).listed:
            operation = _operation(rule, description.of(view))
            # Hooks are authenticated by their signature, a header. The connection still needs its certificate.
            unknown = authentication.has_no_caller(view) or authentication.is_open_to_all(view)
            own = {"security": _security("certificate")} if unknown else {}
            yield method, operation | own


def _operation(rule: Rule, described: Description) -> Document:
    operation: Document = {
        "operationId": _operation_id(rule),
        "tags": [rule.endpoint.partition(".")[0]],
        "summary": described.summary,
        "parameters": [*_path_parameters(rule), *_query_parameters(described), *_header_parameters(described)],
        "responses": {"200": _answer(described), **_unchanged(described), **_errors(described)},
    }
    if described.bodies is not None:
        bodies = described.bodies(context().registry)
        operation["requestBody"] = {
            "required": True,
            "content": {name: {"schema": components.portable(each)} for name, each in bodies.items()},
        }
    return operation


def _operation_id(rule: Rule) -> str:
    name = _operation_of(str(rule.endpoint).rpartition(".")[2])
    return f"{name}_json" if rule.rule.endswith(".json") else name


def _operation_of(view: str) -> str:
    return OPERATIONS.get(view, f"get_{view}")


def _with_kinds(rule: Rule, operation: Document) -> Iterator[tuple[str, Document]]:
    """The route; if its path has a kind, also the route of each kind, with the body of that kind."""
    yield VARIABLE.sub(r"{\1}", rule.rule), operation
    if "kind" in rule.arguments:
        verb = operation["operationId"].partition("_")[0]
        for kind in context().registry:
            name = node_protocol.configured().kind_name(kind.name)
            own = {"operationId": f"{verb}_{_identifier(name)}"}
            yield VARIABLE.sub(quote(name), rule.rule), _of_kind(operation | own, kind)


def _identifier(kind: str) -> str:
    """The kind's name as client generators spell it; unchanged if another kind would have the same spelling."""
    names = [node_protocol.configured().kind_name(each.name) for each in context().registry]
    spelled = SEPARATOR.sub("_", kind)
    return spelled if [SEPARATOR.sub("_", each) for each in names].count(spelled) == 1 else kind


def _of_kind(operation: Document, kind: Kind) -> Document:
    body = components.portable(node_protocol.configured().body_schema(kind))
    return operation | {
        "tags": ["kinds"],
        "summary": kind.description,
        "parameters": [each for each in operation["parameters"] if each["in"] != "path"],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "x-danger": kind.danger,
    }


def _path_parameters(rule: Rule) -> Iterator[Document]:
    known = {
        "kind": ("One of the kinds that `available` lists.", {"type": "string", "minLength": 1}),
        "action_id": (
            "An action's id: the uuid, or the number of the AsyncAction.",
            {"type": "string", "minLength": 1},
        ),
        "application": ("An application that hooks deploy.", {"type": "string", "minLength": 1}),
        "server": ("The name of this node.", {"const": context().settings.agent.node}),
        "stack": ("The stack that this node belongs to.", {"const": context().settings.agent.stack}),
    }
    for name in VARIABLE.findall(rule.rule):
        about, schema = known[name]
        yield {"name": name, "in": "path", "required": True, "description": about, "schema": schema}


def _query_parameters(described: Description) -> Iterator[Document]:
    if described.query is not None:
        for name, schema in json_schema(described.query())["properties"].items():
            about = schema.pop("description")
            yield {"name": name, "in": "query", "description": about, "schema": components.portable(schema)}


def _header_parameters(described: Description) -> Iterator[Document]:
    for name in described.headers:
        yield {"name": name, "in": "header"} | REQUEST_HEADERS[name]


def _answer(described: Description) -> Document:
    answer: Document = {
        "description": "The requested resource.",
        "content": {described.media_type: {"schema": components.reference(described.answer)}},
    }
    if "If-None-Match" in described.headers:
        answer["headers"] = _headers("ETag", "Cache-Control")
    if "Idempotency-Key" in described.headers:
        answer["headers"] = _headers("Location", "Link", "Idempotent-Replayed", *correlation.HEADERS)
    if "Prefer" in described.headers:
        answer["headers"] = answer.get("headers", {}) | _headers("Preference-Applied")
    if described.answer_headers:
        answer["headers"] = answer.get("headers", {}) | _headers(*described.answer_headers)
    if described.links:
        answer["links"] = {
            view: {"operationId": _operation_of(view), "parameters": {parameter: f"$response.body#{pointer}"}}
            for view, (parameter, pointer) in described.links.items()
        }
    return answer


def _unchanged(described: Description) -> Document:
    if "If-None-Match" not in described.headers:
        return {}
    return {"304": {"description": "The resource has not changed.", "headers": _headers("ETag", "Cache-Control")}}


def _errors(described: Description) -> Document:
    """The responses for all error statuses."""
    anyway = _any_route_may()
    own: dict[int, list[str]] = {}
    for error in described.errors:
        own.setdefault(error.status, []).append(_description_of(error))
    return {
        str(status): _error(status, own[status] + anyway.get(status, []))
        if status in own
        else {"$ref": f"#/components/responses/{status}"}
        for status in sorted(own.keys() | anyway)
    }


def _any_route_may() -> dict[int, list[str]]:
    """The errors of any route by status: those of the server, and those that no route names as its own."""
    views = current_app.view_functions.values()
    named = {error for view in views for error in description.of(view).errors}
    texts = {status: [text] for status, text in ERRORS_OF_THE_SERVER.items()}
    for error in AgentError.__subclasses__():
        if error not in named:
            texts.setdefault(error.status, []).append(_description_of(error))
    return texts


def _description_of(error: type[AgentError]) -> str:
    return f"{error.__name__}: {' '.join((error.__doc__ or '').split())}"


def _error(status: int, variants: list[str]) -> Document:
    error: Document = {
        "description": " ".join(variants),
        "content": {"application/json": {"schema": components.reference("Error")}},
    }
    if status in HEADERS_OF_STATUS:
        error["headers"] = _headers(*HEADERS_OF_STATUS[status])
    return error


def _headers(*names: str) -> Document:
    return {name: ANSWER_HEADERS[name] for name in names}


def _schemas() -> Document:
    # Imported here: only the document needs them.
    from agent.api.openapi.answers import COMPONENTS, LISTS, name_of

    single = components.of(COMPONENTS)
    lists = {
        name: {"type": "array", "items": {"anyOf": [components.reference(name_of(each)) for each in items]}}
        for name, items in LISTS.items()
    }
    form().describe(single)
    single["Requester"]["enum"] = list(node_protocol.configured().requesters)
    return (
        single | lists | {"Document": {"type": "object"}, "Output": {"type": "string"}, "Metrics": {"type": "string"}}
    )
