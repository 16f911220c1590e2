#!/usr/bin/python
"""Read the state of an agent and of its datastore."""

from __future__ import annotations

DOCUMENTATION = r"""
module: agent_info
short_description: Read the state of an agent and of its datastore
description:
  - Returns what the agent of a host knows. Changes nothing.
options:
  gather:
    description: What to read.
    type: list
    elements: str
    choices: [agent, datastore, queue, kinds, whoami]
    default: [datastore, queue]
  run_id:
    description: Also return the actions that a run of a playbook has scheduled, of the newest 500 on this agent.
    type: str
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
- name: Read role and lag
  datastore.agent.agent_info:
  register: agent

- name: Show them
  ansible.builtin.debug:
    msg: "{{ agent.datastore.role }}, {{ agent.datastore.lag }}"
"""

RETURN = r"""
agent:
  description: The version of the agent that runs, as C(version.number).
  returned: when gathered
  type: dict
datastore:
  description: Role, lag, replicas and other facts; null for a node without a datastore.
  returned: when gathered
  type: dict
queue:
  description: The actions that wait or run, in the order of execution.
  returned: when gathered
  type: list
  elements: dict
kinds:
  description: The kinds that the agent offers to this caller.
  returned: when gathered
  type: list
  elements: dict
whoami:
  description: Who the caller is for the agent.
  returned: when gathered
  type: dict
run_actions:
  description: The actions of the run, newest first.
  returned: when O(run_id) is given
  type: list
  elements: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.datastore.agent.plugins.module_utils.client import ACTIONS, Client, Refused
from ansible_collections.datastore.agent.plugins.module_utils.connection import run

NEWEST = 500
PATHS = {
    "agent": "/api/unstable/info/agent",
    "datastore": "/api/unstable/datastore",
    "queue": f"{ACTIONS}/queue",
    "kinds": f"{ACTIONS}/available",
    "whoami": "/api/unstable/whoami",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "gather": {"type": "list", "elements": "str", "choices": sorted(PATHS), "default": ["datastore", "queue"]},
    "run_id": {"type": "str"},
}


def main() -> None:
    """The module."""
    run(gather, OPTIONS)


def gather(module: AnsibleModule, client: Client) -> dict[str, Any]:
    """Everything that was asked for."""
    found = {name: _read(client, PATHS[name]) for name in module.params["gather"]}
    if (run_id := module.params["run_id"]) is not None:
        found["run_actions"] = _actions_of(client, run_id)
    return {"changed": False, **found}


def _read(client: Client, path: str) -> Any:
    try:
        return client.get(path).body
    except Refused as error:
        if error.status == 404:
            return None
        raise


def _actions_of(client: Client, run_id: str) -> list[Any]:
    items = client.get(f"{ACTIONS}/list", limit=NEWEST).body["items"]
    return [each for each in items if (each["reason"] or "").split(":")[0] == f"run {run_id}"]


if __name__ == "__main__":
    main()
