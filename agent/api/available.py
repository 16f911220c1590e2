"""`GET /available`: the kinds that this node offers, with the JSON Schema of their arguments."""

from flask import Blueprint, Response, jsonify, request

from agent.api.current import context

bp = Blueprint("available", __name__)


@bp.get("/available")
def available() -> Response:
    """With `?missing=true` the kinds that it does not offer, and what to set or install for each."""
    registry = context().registry
    if request.args.get("missing") == "true":
        missing = sorted(registry.missing.items())
        return jsonify([{"kind": kind, "reason": reason} for kind, reason in missing])
    return jsonify(
        [{"kind": kind.name, "description": kind.description, "args": kind.args_schema()} for kind in registry]
    )
