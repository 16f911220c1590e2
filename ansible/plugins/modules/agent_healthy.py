#!/usr/bin/python
"""Wait until an agent and its datastore are in the state that a step of a rolling run needs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: agent_healthy
short_description: Wait until the datastore of a host has the role and the lag that a step needs
description:
  - Asks the agent at growing intervals until all conditions are met. Changes nothing.
  - Fails with the conditions that are not met and the values found.
options:
  datastore:
    description: Whether to check the datastore; C(false) for a node without one.
    type: bool
    default: true
  role:
    description: The role that the datastore must have.
    type: str
    choices: [any, primary, replica]
    default: any
  streaming:
    description:
      - Whether a replica must receive its source's data and apply it, as the agent reports it.
      - A replica that is still connecting to its source may show a lag of 0 and does not meet the condition.
    type: bool
    default: true
  idle:
    description: Whether no action may wait or run.
    type: bool
    default: true
  max_lag_bytes:
    description: The largest allowed lag of a replica, in bytes of its log. An unknown lag does not meet the condition.
    type: int
  max_lag_seconds:
    description: The largest allowed lag of a replica, in seconds. An unknown lag does not meet the condition.
    type: float
  timeout:
    description: Seconds to wait; 0 to check once.
    type: int
    default: 60
extends_documentation_fragment:
  - datastore.agent.agent
attributes:
  diff_mode:
    description: There is nothing to compare.
    support: none
author:
  - The authors of the agent (@datastore-agent)
"""

EXAMPLES = r"""
- name: Wait until the replica is in step again
  datastore.agent.agent_healthy:
    role: replica
    max_lag_bytes: 1048576
    timeout: 300
"""

RETURN = r"""
datastore:
  description: Role, lag, replicas and other facts.
  returned: when looked at
  type: dict
queue:
  description: The actions that wait or run.
  returned: always
  type: list
  elements: dict
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.datastore.agent.plugins.module_utils.client import ACTIONS, Client, Unreachable
from ansible_collections.datastore.agent.plugins.module_utils.connection import run

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
OPTIONS: dict[str, dict[str, Any]] = {
    "datastore": {"type": "bool", "default": True},
    "role": {"type": "str", "choices": ["any", "primary", "replica"], "default": "any"},
    "streaming": {"type": "bool", "default": True},
    "idle": {"type": "bool", "default": True},
    "max_lag_bytes": {"type": "int"},
    "max_lag_seconds": {"type": "float"},
    "timeout": {"type": "int", "default": 60},
}


def main() -> None:
    """Runs the module."""
    run(wait, OPTIONS)


def wait(module: AnsibleModule, client: Client) -> dict[str, Any]:
    """Check until all conditions are met, or until the timeout."""
    deadline, pause = time.monotonic() + module.params["timeout"], FIRST_PAUSE
    while True:
        facts: dict[str, Any] = {}
        try:
            facts["queue"] = client.get(f"{ACTIONS}/queue").body
            if module.params["datastore"]:  # after the queue: an action that ends between the two may change the role
                facts["datastore"] = client.get("/api/unstable/datastore").body
            missing = unmet(module.params, **facts)
        except Unreachable as error:
            missing = [str(error)]
        if not missing:
            return {"changed": False, **facts}
        if time.monotonic() + pause > deadline:
            module.fail_json(msg=f"not healthy: {'; '.join(missing)}", unmet=missing, **facts)
        time.sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 1.5)


def unmet(params: dict[str, Any], queue: list[Any], datastore: dict[str, Any] | None = None) -> list[str]:
    """The conditions that are not met, as text."""
    found = _unmet_of_datastore(params, datastore) if datastore else []
    if params["idle"] and queue:
        found.append(f"{len(queue)} actions wait or run, the first is {queue[0]['kind']} {queue[0]['id']}")
    return found


def _unmet_of_datastore(params: dict[str, Any], datastore: dict[str, Any]) -> list[str]:
    if not datastore["reachable"]:
        return [f"the datastore does not answer: {datastore['error']}"]
    found = []
    if params["role"] != "any" and datastore["role"] != params["role"]:
        found.append(f"the role is {datastore['role']}, expected {params['role']}")
    if params["role"] == "primary" and not datastore["writable"]:
        found.append("the primary accepts no writes")
    if datastore["dirty"]:
        found.append("the data is incomplete: a resync has not ended")
    if params["streaming"] and datastore["role"] == "replica" and not datastore.get("streaming"):
        found.append(_not_streaming(datastore))
    for unit in ("bytes", "seconds"):
        most, lag = params[f"max_lag_{unit}"], (datastore["lag"] or {}).get(unit)
        if most is not None and datastore["role"] == "replica" and (lag is None or lag > most):
            found.append(
                f"the lag is {'not known' if lag is None else f'{lag} {unit}'}, expected {most} {unit} at most"
            )
    return found


def _not_streaming(datastore: dict[str, Any]) -> str:
    """An agent before version 0.2.0 does not report the fact."""
    if datastore.get("streaming") is None:
        why = datastore["unknown"].get("streaming", "upgrade the agent")
        return f"the agent does not know whether the replica streams: {why}"
    source = datastore["source"] or {}
    why = f": {source['error']}" if source.get("error") else ""
    if source.get("state") == "streaming":
        return f"the replica receives from {source.get('address')} and does not apply it{why}"
    return f"the replica does not stream from {source.get('address')} ({source.get('state')}){why}"


if __name__ == "__main__":
    main()
