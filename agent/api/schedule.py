"""`POST /schedule/<kind>`: store an action; 200 means that it is on disk and will run."""

from flask import Blueprint, Response

from agent.api import correlation, node_protocol, permissions
from agent.api.body import json_body
from agent.api.enqueue import REFUSALS, enqueue_for_caller
from agent.api.openapi.description import describe
from agent.api.routing import ACTIONS
from agent.models import Accepted

bp = Blueprint("schedule", __name__)

HEADERS = ("Idempotency-Key", "From", "Action-Reason", "Not-Before", "Not-After", *correlation.HEADERS)


@bp.post("/schedule/<anything:kind>")
@describe(
    "Schedule an action. 200 means that the action is stored on disk. The body has its arguments, or the envelope of "
    "the node protocol.",
    "Scheduled",
    headers=HEADERS,
    errors=REFUSALS,
    bodies=lambda registry: {"application/json": node_protocol.configured().any_body()},
    links={"info": ("action_id", "/id"), "cancel": ("action_id", "/id")},
)
def schedule(kind: str) -> Response:
    """The whole JSON body is the action's arguments, or the envelope around them."""
    called = node_protocol.kind_called(kind)
    permissions.permit(called.name)
    accepted = enqueue_for_caller(called, node_protocol.words().wanted(json_body()))
    return marked(Response(f'{{"id":"{accepted.action_id}"}}\n', mimetype="application/json"), accepted)


def marked(response: Response, accepted: Accepted) -> Response:
    """The answer with the action's address, and `Idempotent-Replayed: true` if an earlier call scheduled it."""
    address = f"{ACTIONS}/info/{accepted.action_id}"
    response.headers["Location"] = address
    response.headers["Link"] = f'<{address}>; rel="monitor"'
    response.autocorrect_location_header = False
    if accepted.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response
