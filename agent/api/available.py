"""`GET /available`: the kinds that this node offers, with the JSON Schema of their arguments."""

from flask import Blueprint, Response, jsonify, request
from marshmallow import Schema, fields

from agent.api import node_protocol
from agent.api.context import context
from agent.api.openapi.description import describe

bp = Blueprint("available", __name__)


class AvailableArgs(Schema):
    missing = fields.String(metadata={"description": "`true`: the kinds that are not offered, and why."})


@bp.get("/available")
@describe("The kinds that this node offers, with the JSON Schema of their arguments.", "Kinds", query=AvailableArgs)
def available() -> Response:
    """With `?missing=true` the kinds that the node does not offer, each with the option or package that it lacks."""
    registry, words = context().registry, node_protocol.words()
    if request.args.get("missing") == "true":
        missing = sorted(registry.missing.items())
        return jsonify([{"kind": words.kind_name(kind), "reason": reason} for kind, reason in missing])
    return jsonify(
        [
            {
                "kind": words.kind_name(kind.name),
                "description": kind.description,
                "danger": kind.danger,
                "args": kind.args_schema(),
            }
            for kind in registry
        ]
    )
