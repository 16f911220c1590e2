"""`GET /live`, `/ready` and `/health`: for supervisors and load balancers, without authentication."""

from flask import Blueprint, Response, current_app, jsonify, request
from marshmallow import Schema, fields, validate

from agent.api import authentication
from agent.api.datastore import Facts
from agent.api.openapi.description import describe
from agent.engine.health import Health, Part
from agent.errors import DatastoreNotConfigured, InvalidQuery, NotHealthy

bp = Blueprint("health", __name__)

ROLES = {"primary": ("primary", "standalone"), "replica": ("replica",)}
"""The roles of a datastore that match the parameter `role`. A primary without replicas is `standalone`."""


class HealthQuery(Schema):
    role = fields.String(
        validate=validate.OneOf(list(ROLES)),
        metadata={"description": "Healthy only while the datastore answers and has this role."},
    )


@bp.get("/live")
@authentication.open_to_all
@describe("Whether this process answers.", "Health")
def live() -> Response:
    return _answer({})


@bp.get("/ready")
@authentication.open_to_all
@describe("Whether the agent accepts and runs actions; independent of the datastore.", "Health")
def ready() -> Response:
    """Raises `NotHealthy`."""
    return _answer(_parts())


@bp.get("/health")
@authentication.open_to_all
@describe(
    "Whether the agent accepts and runs actions and, with `role`, whether the datastore has this role.",
    "Health",
    query=HealthQuery,
    errors=(InvalidQuery, DatastoreNotConfigured),
)
def health() -> Response:
    """Raises `NotHealthy` and `DatastoreNotConfigured`."""
    if (role := request.args.get("role")) is None:
        return _answer(_parts())
    if role not in ROLES:
        raise InvalidQuery(f"the query parameter role expects {' or '.join(ROLES)}, got {role[:100]!a}")
    return _answer({"datastore": _check_datastore(role)})


def _parts() -> dict[str, Part]:
    found: Health = current_app.extensions["agent.health"]
    return found.parts()


def _check_datastore(wanted: str) -> Part:
    """Raises `DatastoreNotConfigured`."""
    facts: Facts = current_app.extensions["agent.facts"]
    status = facts.now()
    if not status["reachable"]:
        return Part(False, f"does not answer: {status['error']}")
    ok = status["role"] in ROLES[wanted] and (wanted == "replica" or status["writable"] is not False)
    return Part(ok, f"is {status['role']}, {'writable' if status['writable'] else 'not writable'}")


def _answer(parts: dict[str, Part]) -> Response:
    """Raises `NotHealthy` if a part is not healthy. Only known callers get the details."""
    wrong = [name for name, part in parts.items() if not part.ok]
    if wrong:
        shown = [f"{name} {parts[name].about}" for name in wrong] if authentication.is_known() else []
        raise NotHealthy(f"not healthy: {', '.join(wrong)}", layers=shown)
    details = {"parts": {name: part.about for name, part in parts.items()}} if authentication.is_known() else {}
    response = jsonify({"status": "ok"} | details)
    response.headers["Cache-Control"] = "no-store"
    return response
