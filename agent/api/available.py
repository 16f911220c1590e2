"""`GET /available`: the kinds that this node offers, with the JSON Schema of their arguments."""

from flask import Blueprint, Response, jsonify

from agent.api.current import context

bp = Blueprint("available", __name__)


@bp.get("/available")
def available() -> Response:
    return jsonify(
        [
            {"kind": kind.name, "description": kind.description, "args": kind.args_schema()}
            for kind in context().registry
        ]
    )
