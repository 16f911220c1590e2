"""The query of a request: only parameters that its route describes, each once."""

from typing import Any

from flask import Flask, current_app, request
from marshmallow import Schema, ValidationError

from agent.api.openapi import description
from agent.errors import InvalidQuery
from agent.util.validation import by_path

SHOWN = 100
"""Maximum characters of an unknown name in an answer."""


def init_app(app: Flask) -> None:
    app.before_request(check)


def loaded(schema: Schema) -> dict[str, Any]:
    """The parameters of the query, by the schema of its route. Raises `InvalidQuery` for the first wrong one."""
    try:
        found: dict[str, Any] = schema.load(request.args.to_dict())
    except ValidationError as error:
        name, messages = next(iter(by_path(error.messages).items()))
        raise InvalidQuery(f"the query parameter {name} is not accepted: {messages[0]}") from None
    return found


def check() -> None:
    """Raises `InvalidQuery` for a parameter that the route does not describe, or that comes more than once."""
    if not request.query_string or request.endpoint is None:
        return
    schema = description.of(current_app.view_functions[request.endpoint]).query
    known = sorted(schema().load_fields) if schema else []
    for name, values in request.args.lists():
        if name not in known:
            expected = f"expected {', '.join(known)}" if known else "this address accepts none"
            raise InvalidQuery(f"unknown query parameter {name[:SHOWN]!a}: {expected}")
        if len(values) > 1:
            raise InvalidQuery(f"the query parameter {name} is given more than once")
