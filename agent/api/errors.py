"""One shape for every error, also for those that the framework raises; a traceback never leaves the process."""

import traceback
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from agent import log
from agent.errors import AgentError

VARIANTS = {404: "NotFound", 405: "MethodNotAllowed"}


def init_app(app: Flask) -> None:
    app.register_error_handler(AgentError, _refusal)
    app.register_error_handler(HTTPException, _framework_error)
    app.register_error_handler(Exception, _unexpected)


def _refusal(error: AgentError) -> Response:
    body: dict[str, Any] = {"error": error.message, "layers": error.layers, "variant": error.variant}
    if error.details is not None:
        body["details"] = {name: list(texts) for name, texts in error.details.items()}
    response = jsonify(_as_this_wire_has_it(body))
    response.status_code = error.status
    response.headers.update(error.headers)
    return response


def _as_this_wire_has_it(body: dict[str, Any]) -> dict[str, Any]:
    """The clients of the AsyncAction resource print two members more."""
    if request.path.startswith("/api/3/"):
        return body | {"error_description": body["error"], "details": body.get("details", {})}
    return body


def _framework_error(error: HTTPException) -> Response:
    """What the framework raises: its own status and headers, such as `Allow`, in our shape."""
    status = error.code or 500
    response = jsonify(
        _as_this_wire_has_it(
            {
                "error": _sentence(status, error),
                "layers": [],
                "variant": VARIANTS.get(status, error.name.title().replace(" ", "").replace("-", "")),
            }
        )
    )
    response.status_code = status
    kept = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    response.headers.update(kept)
    return response


def _sentence(status: int, error: HTTPException) -> str:
    if status == 404:
        return "there is nothing at this address"
    if status == 405:
        return f"this address does not take {request.method}"
    return (error.description or error.name).split(". ")[0].rstrip(".")


def _unexpected(error: Exception) -> Response:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.filename}:{frame.lineno} in {frame.name}"
    log.request_failed(request.method, str(request.url_rule), type(error), where)
    response = jsonify(
        _as_this_wire_has_it(
            {
                "error": "the agent failed to answer; its log says where",
                "layers": [type(error).__name__],
                "variant": "InternalError",
            }
        )
    )
    response.status_code = 500
    return response
