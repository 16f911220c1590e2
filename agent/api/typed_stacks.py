"""The stack and the server for clients with typed models, and their calls for deploys and reboots."""

import platform
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request
from marshmallow import Schema, fields

from agent.api import authentication, permissions
from agent.api.async_actions import FORM, REFUSAL, PageArgs, answer, check_stack, pagination, schedule_action
from agent.api.body import form_body, json_of, read
from agent.api.context import context
from agent.api.enqueue import REFUSALS
from agent.api.form import form_args, with_lists
from agent.api.openapi.description import describe
from agent.api.schedule import HEADERS
from agent.clock import rfc3339
from agent.engine.health import Health
from agent.errors import ActionPruned, InvalidArgs, ServerNotFound, StackNotFound
from agent.kinds.base.json_schema import json_schema
from agent.maintenance import MaintenanceFlag
from agent.models import Json, State
from agent.store import actions
from agent.store.summary import summary
from agent.util.validation import load

PREFIX = "/api/3"
STACK = f"{PREFIX}/stacks/<stack>"
SERVER = f"{STACK}/servers/<server>"
DEPLOYED, FAILED, QUEUED, DEPLOYING = 1, 2, 5, 6
STATUSES = {None: DEPLOYED, State.NEW: QUEUED, State.RUNNING: DEPLOYING, State.DONE: DEPLOYED, State.FAILED: FAILED}
"""The code of a stack by the state of its newest deploy."""
IMPAIRED, HEALTHY = 2, 3
STRATEGIES = {"": None, "serial": "rolling", "rolling": "rolling", "parallel": "parallel"}
"""The restart strategies by the names of these clients."""

bp = Blueprint("typed_stacks", __name__)


class ServerQuery(Schema):
    include_private_key = fields.String(metadata={"description": "Ignored: the agent has no keys of servers."})


class PageQuery(Schema):
    page, per_page = PageArgs().fields["page"], PageArgs().fields["per_page"]


class DeploymentArgs(Schema):
    """The deployment that these clients send; empty strings and null are the same as absent members."""

    git_ref = fields.String(allow_none=True, metadata={"description": "A branch, tag or commit."})
    deploy_strategy = fields.String(
        allow_none=True, metadata={"description": "serial or rolling: one unit after the other; parallel: all at once."}
    )
    services = fields.List(
        fields.String(), allow_none=True, metadata={"description": "The application; required if there are several."}
    )
    deployment_profile = fields.String(allow_none=True, metadata={"description": "Empty: there are no profiles."})
    rollout_strategy = fields.String(allow_none=True, metadata={"description": "Empty: see deploy_strategy."})
    canary_percentage = fields.Integer(allow_none=True, metadata={"description": "Null: there are no canaries."})


class RebootArgs(Schema):
    strategy = fields.String(allow_none=True, metadata={"description": "serial, parallel or empty: one server."})
    group = fields.String(allow_none=True, metadata={"description": "all, empty, or the kind of the datastore."})


class NoArgs(Schema):
    """No parameters."""


@bp.get(f"{PREFIX}/ping")
@bp.get(f"{PREFIX}/ping.json")
@authentication.open_to_all
@describe("Whether the agent answers; without authentication.", "TypedPing")
def ping() -> Response:
    return jsonify({"response": {"ok": True, "message": "pong"}})


@bp.get(f"{PREFIX}/stacks")
@bp.get(f"{PREFIX}/stacks.json")
@describe("The stack of this node.", "TypedStacks", query=PageQuery, errors=(InvalidArgs,))
def stacks() -> Response:
    return _listed(_stack())


@bp.get(STACK)
@bp.get(f"{STACK}.json")
@describe("The stack of this node.", "TypedStack", errors=(StackNotFound,))
def stack(stack: str) -> Response:
    check_stack(stack)
    return jsonify({"response": _stack()})


@bp.get(f"{STACK}/servers")
@bp.get(f"{STACK}/servers.json")
@describe("The server that this node is.", "TypedServers", query=PageQuery, errors=(StackNotFound, InvalidArgs))
def servers(stack: str) -> Response:
    check_stack(stack)
    return _listed(_server())


@bp.get(SERVER)
@bp.get(f"{SERVER}.json")
@describe("The server that this node is.", "TypedServer", query=ServerQuery, errors=(StackNotFound, ServerNotFound))
def server(stack: str, server: str) -> Response:
    _check_server(stack, server)
    return jsonify({"response": _server()})


@bp.post(f"{STACK}/deployments")
@bp.post(f"{STACK}/deployments.json")
@describe(
    "Schedule a deploy.",
    "TypedDeployment",
    headers=HEADERS,
    errors=(StackNotFound, ActionPruned, *REFUSALS),
    bodies=lambda registry: {media_type: json_schema(DeploymentArgs()) for media_type in ("application/json", FORM)},
)
def deployments(stack: str) -> Response:
    """The answer says whether the deploy waits for other actions."""
    check_stack(stack)
    kind = context().registry.get("deploy")
    permissions.permit(kind.name)
    action, accepted = schedule_action(kind, _deploy_args(_parameters(DeploymentArgs())))
    waiting = actions.queue(context().store)
    queued = action.state is State.NEW and bool(waiting) and waiting[0]["id"] != accepted.action_id
    response = answer(action, accepted)
    message = "the deploy is queued" if queued else "the deploy is scheduled"
    shown = {"ok": True, "message": message, "queued": queued, "async_action_id": action.seq}
    response.set_data(jsonify({"response": shown}).get_data())
    return response


@bp.post(f"{STACK}/reboot_servers")
@bp.post(f"{STACK}/reboot_servers.json")
@describe(
    "Schedule a reboot of the server that this node is.",
    "AsyncActionAnswer",
    headers=HEADERS,
    errors=(StackNotFound, ActionPruned, *REFUSALS),
    bodies=lambda registry: {media_type: json_schema(RebootArgs()) for media_type in ("application/json", FORM)},
)
def reboot_servers(stack: str) -> Response:
    check_stack(stack)
    return _reboot(RebootArgs())


@bp.post(f"{SERVER}/reboot_server")
@bp.post(f"{SERVER}/reboot_server.json")
@describe(
    "Schedule a reboot of the server that this node is.",
    "AsyncActionAnswer",
    headers=HEADERS,
    errors=(StackNotFound, ServerNotFound, ActionPruned, *REFUSALS),
)
def reboot_server(stack: str, server: str) -> Response:
    _check_server(stack, server)
    return _reboot(NoArgs())


def _reboot(schema: Schema) -> Response:
    kind = context().registry.get("stack_reboot")
    permissions.permit(kind.name)
    parameters = _parameters(schema)
    datastore = context().settings.datastore
    groups = ("", "all", *([datastore.kind] if datastore else []))
    _refuse(parameters, "strategy", ("", "serial", "parallel"))
    _refuse(parameters, "group", groups)
    return answer(*schedule_action(kind, {}))


def _deploy_args(parameters: dict[str, Any]) -> Json:
    """The arguments of `deploy`. Raises `InvalidArgs`."""
    _refuse(parameters, "deploy_strategy", tuple(STRATEGIES))
    for name in ("deployment_profile", "rollout_strategy"):
        _refuse(parameters, name, ("",))
    if parameters.get("canary_percentage") is not None:
        raise InvalidArgs("this deployment is not accepted", details={"canary_percentage": ["Must be null."]})
    services = parameters.get("services") or []
    if len(services) > 1:
        raise InvalidArgs("this deployment is not accepted", details={"services": ["One application at a time."]})
    strategy = STRATEGIES[parameters.get("deploy_strategy") or ""]
    application = next(iter(services), None)
    args = {"git_ref": parameters.get("git_ref"), "deployment_strategy": strategy, "application": application}
    return {name: value for name, value in args.items() if value}


def _refuse(parameters: dict[str, Any], name: str, known: tuple[str, ...]) -> None:
    """Raises `InvalidArgs` for a value that is not in `known`; null counts as the empty string."""
    if (parameters.get(name) or "") not in known:
        expected = " or ".join(each or "empty" for each in known)
        raise InvalidArgs(REFUSAL, details={name: [f"Must be {expected}."]})


def _parameters(schema: Schema) -> dict[str, Any]:
    """The parameters from JSON or a form, without empty strings. Raises `InvalidArgs` and the errors of `json_of`."""
    if request.mimetype == FORM:
        given: Json = form_args(schema, with_lists(form_body()))
    else:
        received = read()
        given = json_of(received) if received.strip() else {}
    if isinstance(given, dict):
        given = {name: value for name, value in given.items() if value not in ("", [""]) or name not in schema.fields}
    found: dict[str, Any] = load(schema, given, REFUSAL)
    return found


def _check_server(stack: str, server: str) -> None:
    check_stack(stack)
    if server != (own := context().settings.agent.node):
        raise ServerNotFound(f"this node is the server {own}")


def _listed(only: dict[str, Any]) -> Response:
    """A page of a list with one item."""
    wanted = load(PageQuery(), request.args.to_dict(), REFUSAL)
    shown = [only] if wanted["page"] == 1 else []
    pages = pagination(wanted["page"], wanted["per_page"], 1)
    return jsonify({"response": shown, "count": len(shown), "pagination": pages})


def _stack() -> dict[str, Any]:
    settings, facts = context().settings, summary(context().store)
    health: Health = current_app.extensions["agent.health"]
    applications = list(settings.applications.values())
    only = applications[0] if len(applications) == 1 else None
    return {
        "uid": settings.agent.stack,
        "name": settings.agent.stack,
        "git": only.repository if only else "",
        "git_branch": only.ref if only else "",
        "environment": "",
        "cloud": "",
        "fqdn": "",
        "language": "",
        "framework": "",
        "status": STATUSES[facts.deploy],
        "health": HEALTHY if all(part.ok for part in health.parts().values()) else IMPAIRED,
        "maintenance_mode": MaintenanceFlag.of(settings).exists(),
        "has_loadbalancer": False,
        "redeploy_hook": None,
        "last_activity_iso": rfc3339(facts.last_ts),
        "updated_at_iso": rfc3339(facts.changed_ts),
        "created_at_iso": rfc3339(facts.begun_ts),
        "deploy_directory": str(only.path) if only else "",
        "backend": "",
        "version": "",
        "revision": "",
        "namespaces": [],
        "account_id": 0,
        "account_name": "",
        "is_cluster": False,
        "is_inside_cluster": False,
        "cluster_name": "",
        "application_address": None,
        "configstore_namespace": "",
    }


def _server() -> dict[str, Any]:
    settings, facts = context().settings, summary(context().store)
    health: Health = current_app.extensions["agent.health"]
    node, datastore = settings.agent.node, settings.datastore
    return {
        "uid": node,
        "vendor_uid": "",
        "name": node,
        "address": "",
        "distro": platform.system().lower(),
        "distro_version": platform.release(),
        "dns_record": "",
        "server_type": "",
        "server_group_id": 0,
        "server_roles": [datastore.kind] if datastore else [],
        "stack_uid": settings.agent.stack,
        "has_agent": True,
        "params": {},
        "created_at": rfc3339(facts.begun_ts),
        "updated_at": rfc3339(facts.changed_ts),
        "region": "",
        "availability_zone": "",
        "ext_ipv4": "",
        "health_state": HEALTHY if all(part.ok for part in health.parts().values()) else IMPAIRED,
        "user_name": "",
        "personal_key": False,
        "ssh_private_key": None,
        "notifications": {},
        "has_deploy_gateway": False,
        "deploy_gateway_address": "",
        "deploy_gateway_user_name": "",
        "is_kubernetes_master": False,
    }
