#!/usr/bin/python
"""Read the state of an agent and of its datastore."""

from __future__ import annotations

DOCUMENTATION = r"""
module: agent_info
short_description: Read the state of an agent and of its datastore
description:
  - Returns the state that the agent of a host reports. Changes nothing.
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
  kind:
    description: With O(run_id), also return whether the run has done an action of this kind with these O(args).
    type: str
  args:
    description: The arguments of that action. Secrets are not compared.
    type: dict
    default: {}
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
  description: The identity of the caller.
  returned: when gathered
  type: dict
run_actions:
  description: The actions of the run, newest first.
  returned: when O(run_id) is given
  type: list
  elements: dict
run_done:
  description: Whether the run has done the action.
  returned: when O(run_id) and O(kind) are given
  type: bool
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.datastore.agent.plugins.module_utils.arguments import OPTION, Arguments, arguments
from ansible_collections.datastore.agent.plugins.module_utils.client import ACTIONS, Client, Refused
from ansible_collections.datastore.agent.plugins.module_utils.connection import run, run_id_of

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
    "kind": {"type": "str"},
    "args": OPTION,
}


def main() -> None:
    """Runs the module."""
    run(gather, OPTIONS)


def gather(module: AnsibleModule, client: Client) -> dict[str, Any]:
    """All requested parts."""
    run_id = run_id_of(module)
    found = {name: _read(client, PATHS[name]) for name in module.params["gather"]}
    if run_id is not None:
        found["run_actions"] = actions = _actions_of(client, run_id)
        if (kind := module.params["kind"]) is not None:
            found["run_done"] = _is_done(client, actions, kind, arguments(module, client))
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
    return [each for each in items if f"{each['reason'] or ''}: ".startswith(f"run {run_id}: ")]


def _is_done(client: Client, actions: list[Any], kind: str, args: Arguments) -> bool:
    secrets = args.all.keys() - args.public.keys()
    ids = [each["id"] for each in actions if (each["kind"], each["outcome"]) == (kind, "done")]
    done = (client.info(each)["action"]["args"] or {} for each in ids)
    return any({name: each[name] for name in each if name not in secrets} == args.public for each in done)


if __name__ == "__main__":
    main()
