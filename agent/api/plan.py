"""`POST /plan/<kind>`: what an action would do now; nothing is stored and nothing is changed."""

from typing import Any

from flask import Blueprint, Response, jsonify

from agent import log, plan
from agent.api import auth, body
from agent.api.body import json_body
from agent.api.bounded import NotAnswered
from agent.api.current import context, questions
from agent.api.description import describe
from agent.errors import ActionNotAvailable, InvalidArgs
from agent.kinds.arguments import spelled_as_declared
from agent.kinds.base import Kind
from agent.kinds.masking import mask
from agent.models import Json
from agent.plan import Plan

bp = Blueprint("plan", __name__)

SECONDS = 2.0
"""How long a plan may take before the answer is `unknown`."""


@bp.post("/plan/<anything:kind>")
@describe(
    "What an action would do now. Nothing is stored. The body and the permission are those of `schedule`.",
    "Plan",
    errors=(*body.REFUSALS, ActionNotAvailable, InvalidArgs),
    bodies=lambda registry: {"application/json": {}},
)
def plan_of(kind: str) -> Response:
    """The whole JSON body is the action's arguments."""
    wanted = context().registry.get(kind)
    auth.permit(wanted.name)
    args = json_body()
    if isinstance(args, dict):
        args = spelled_as_declared(wanted.schema, args)
    loaded = wanted.load(args)
    made = _masked(_made(wanted, loaded).as_json(), wanted, args)
    return jsonify({"kind": wanted.name} | made)


def _made(kind: Kind, loaded: Any) -> Plan:
    try:
        return questions().ask(lambda: kind.preview(loaded))
    except NotAnswered as error:
        return plan.unknown(f"{kind.name}: {error}")
    except Exception as error:
        # An action whose plan fails like this fails in its first step.
        log.plan_raised(kind.name, error)
        return plan.refuse(str(error) or type(error).__name__, "see the agent's log")


def _masked(made: dict[str, Json], kind: Kind, args: Json) -> Json:
    """The plan without the secrets of the arguments, should a server have repeated one."""
    _, secrets = kind.conceal(args)
    return mask(made, [value for value in secrets.values() if isinstance(value, str) and value])
