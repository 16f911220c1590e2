"""The query of an address: exactly the parameters that its route describes, each once."""

from flask import Flask, current_app, request

from agent.api.openapi import description
from agent.errors import InvalidQuery

SHOWN = 100
"""Characters of an unknown name that an answer repeats."""


def init_app(app: Flask) -> None:
    app.before_request(check)


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
