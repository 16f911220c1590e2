"""The node protocol's `/info/agent`, `/info/datastore`, `/shards` and `/actions/`, for controllers."""

import re

from flask import Blueprint, Response, current_app, jsonify

from agent.api.context import context
from agent.api.datastore import Facts
from agent.api.openapi.description import describe
from agent.api.routing import ACTIONS, UNSTABLE
from agent.errors import DatastoreNotConfigured, NotHealthy
from agent.models import Json
from agent.util.installed_version import installed_version

bp = Blueprint("node_info", __name__)

UNKNOWN = "unknown"
"""The value of a required string that this installation does not know."""
CHANGING_IDS = ("redis",)
"""Datastores whose own cluster id changes with a restart or a promotion: a controller would see another cluster."""
LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
ROLES = {"primary": "primary", "standalone": "primary", "replica": "secondary"}
LARGEST = 2**63 - 1


@bp.get(f"{UNSTABLE}/info/agent")
@describe("The version of the agent.", "AgentInfo")
def agent_info() -> Response:
    return jsonify({"version": {"checkout": UNKNOWN, "number": installed_version(), "taint": UNKNOWN}})


@bp.get(f"{UNSTABLE}/info/datastore")
@describe(
    "The datastore of this node as a controller of the node protocol knows it.",
    "DatastoreInfo",
    errors=(DatastoreNotConfigured, NotHealthy),
)
def datastore_info() -> Response:
    """While the datastore does not answer, its last answer. Raises `DatastoreNotConfigured`, `NotHealthy`."""
    facts: Facts = current_app.extensions["agent.facts"]
    status = facts.last_reachable()
    agent = context().settings.agent
    lasting = status["kind"] not in CHANGING_IDS
    return jsonify(
        {
            "cluster_display_name": agent.stack,
            "cluster_id": (status["cluster_id"] if lasting else None) or agent.stack,
            "id": agent.node,
            "kind": status["kind"],
            "node_id": agent.node,
            "version": status["version"] or UNKNOWN,
        }
    )


@bp.get(f"{UNSTABLE}/shards")
@describe("The data of this node, its role and its lag.", "ShardList", errors=(DatastoreNotConfigured,))
def shards() -> Response:
    """One shard: the datastore as a whole. Raises `DatastoreNotConfigured`."""
    facts: Facts = current_app.extensions["agent.facts"]
    status = facts.now()
    shard = {
        "id": context().settings.agent.stack,
        "role": ROLES.get(status["role"]) or {"unknown": status["error"] or "the datastore does not report it"},
        "commit_offset": _offset(status["position"]),
        "lag": _lag(status["lag"]) if status["role"] == "replica" else None,
    }
    return jsonify({"shards": [shard]})


@bp.get(f"{ACTIONS}/", strict_slashes=False)
@describe("Whether this node runs actions; always true.", "ActionsOffered")
def actions_offered() -> Response:
    return jsonify({"actions": True})


def _offset(position: str | None) -> Json:
    """A position as a number of bytes; None if it is not a single number, such as a GTID set."""
    if position is None:
        return None
    if found := LSN.fullmatch(position):
        value = (int(found[1], 16) << 32) + int(found[2], 16)
    elif position.isascii() and position.isdecimal():
        value = int(position[:20])
    else:
        return None
    return _in("bytes", value)


def _lag(lag: Json) -> Json:
    """The lag in seconds, else in bytes, else in transactions; None if unknown."""
    if lag["seconds"] is not None:
        return {"unit": "seconds", "value": min(round(lag["seconds"]), LARGEST)}
    for unit in ("bytes", "transactions"):
        if lag[unit] is not None:
            return _in(unit, lag[unit])
    return None


def _in(unit: str, value: int) -> Json:
    return {"unit": {"unit": unit}, "value": min(value, LARGEST)}
