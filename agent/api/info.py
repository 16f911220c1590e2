"""`GET /info/<id>`: an action and every state it was in; waits for a change where it is asked to."""

from flask import Blueprint, Response, jsonify, request

from agent.api.current import context, waiters
from agent.api.description import describe
from agent.api.schemas import action_fields, transition_fields
from agent.api.waiting import preferred_wait
from agent.errors import ActionNotFound
from agent.store import Store, actions

bp = Blueprint("info", __name__)

FOR_EVER = "private, max-age=31536000, immutable"


@bp.get("/info/<anything:action_id>")
@describe(
    "An action and every state it was in; waits for a change where it is asked to.",
    "Info",
    headers=("If-None-Match", "Prefer"),
    errors=(ActionNotFound,),
)
def info(action_id: str) -> Response:
    store = context().store
    seconds = preferred_wait()
    if seconds and request.if_none_match:
        waiters().wait(seconds, lambda: _is_new(store, action_id))
    action, history = actions.info(store, action_id)
    response = jsonify(
        {
            "action": action_fields(action),
            "history": [transition_fields(action, transition) for transition in history],
        }
    )
    response.set_etag(str(history[0].version))
    response.headers["Cache-Control"] = FOR_EVER if action.state.final else "no-cache"
    if seconds:
        response.headers["Preference-Applied"] = f"wait={seconds:g}"
    response.make_conditional(request)
    return response


def _is_new(store: Store, action_id: str) -> bool:
    """Whether the caller has not seen this state of the action, or there is nothing more to come."""
    version, state = actions.version(store, action_id)
    return state.final or not request.if_none_match.contains_weak(str(version))
