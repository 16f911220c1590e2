"""Renders all errors, also of the framework, in one shape and without tracebacks."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from agent import log
from agent.api import traffic
from agent.api.async_action_form import form
from agent.errors import AgentError, described

DETAILS = 100
"""Maximum number of members in the details of an error."""
SHOWN = 100
"""Maximum characters of an unknown address in a message."""
VARIANTS = {404: "NotFound", 405: "MethodNotAllowed"}


def init_app(app: Flask) -> None:
    app.register_error_handler(AgentError, _refusal)
    app.register_error_handler(HTTPException, _framework_error)
    app.register_error_handler(Exception, _unexpected)


def _refusal(error: AgentError) -> Response:
    response = _answer(error.status, error.message, error.variant, error.layers, error.details)
    response.headers.update(error.headers)
    return response


def _framework_error(error: HTTPException) -> Response:
    """An error of the framework, with its own status and headers, such as `Allow`."""
    status = error.code or 500
    variant = VARIANTS.get(status, error.name.title().replace(" ", "").replace("-", ""))
    response = _answer(status, _sentence(status, error), variant)
    kept = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    response.headers.update(kept)
    return response


def _unexpected(error: Exception) -> Response:
    log.request_failed(request.method, str(request.url_rule), error)
    return _answer(500, "internal error: see the agent's log", "InternalError", [type(error).__name__])


def _answer(
    status: int,
    error: str,
    variant: str,
    layers: Sequence[str] = (),
    details: Mapping[str, Sequence[str]] | None = None,
) -> Response:
    """The one shape. Clients of the AsyncAction resource show `error_description` alone: it includes the details."""
    traffic.of_this_process().count_refused(variant)
    body: dict[str, Any] = {"error": error, "layers": layers, "variant": variant}
    if details:
        body["details"] = dict(islice(details.items(), DETAILS))
    if request.path.startswith("/api/3/"):
        body["error_description"] = described(error, body.get("details", {}))
        body = form().error(body)
    response = jsonify(body)
    response.status_code = status
    return response


def _sentence(status: int, error: HTTPException) -> str:
    if status == 404:
        return f"not found: {ascii(f'{request.method} {request.path}'[:SHOWN])[1:-1]} (see /openapi.json)"
    if status == 405:
        return f"{request.method} is not allowed at this address"
    return (error.description or error.name).split(". ")[0].rstrip(".")
