"""`POST /plan/<kind>`: what an action would do now; nothing is stored and nothing is changed."""

from typing import Any

from flask import Blueprint, Response, jsonify

from agent import log, plan
from agent.api import body, node_protocol, permissions
from agent.api.body import json_body
from agent.api.context import questions
from agent.api.openapi.description import describe
from agent.api.time_limit import NotAnswered
from agent.errors import ActionNotAvailable, InvalidArgs
from agent.kinds.base import Kind
from agent.kinds.base.arguments import spelled_as_declared
from agent.kinds.base.masking import mask
from agent.models import Json
from agent.plan import Plan

bp = Blueprint("plan", __name__)

SECONDS = 2.0
"""Seconds after which a plan that is not ready is answered as `unknown`."""


@bp.post("/plan/<anything:kind>")
@describe(
    "What an action would do now. Nothing is stored. The body and the permission are those of `schedule`.",
    "Plan",
    errors=(*body.REFUSALS, ActionNotAvailable, InvalidArgs),
    bodies=lambda registry: {"application/json": node_protocol.configured().any_body()},
)
def plan_of(kind: str) -> Response:
    """The whole JSON body is the action's arguments."""
    wanted = node_protocol.kind_called(kind)
    permissions.permit(wanted.name)
    words = node_protocol.words()
    made = plan_for(wanted, words.wanted(json_body()).args)
    return jsonify({"kind": words.kind_name(wanted.name)} | made)


def plan_for(kind: Kind, args: Json) -> dict[str, Json]:
    """The plan of an action of this kind, with secrets masked. The caller must have checked the permission.

    Raises `InvalidArgs`.
    """
    if isinstance(args, dict):
        args = spelled_as_declared(kind.schema, args)
    loaded = kind.load(args)
    made: dict[str, Json] = _masked(_made(kind, loaded).as_json(), kind, args)
    return made


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
    """The plan with the secrets of the arguments masked: a server may have repeated one."""
    _, secrets = kind.split_secrets(args)
    return mask(made, [value for value in secrets.values() if isinstance(value, str) and value])
