#!/usr/bin/python
"""Schedule an action on the agent of a datastore host and wait for its end."""

from __future__ import annotations

DOCUMENTATION = r"""
module: agent_action
short_description: Run an operational action through the agent of a datastore host
description:
  - Schedules an action on the agent and waits until it is final. The wait survives a restart, a reload and, over TCP, a
    reboot of the host.
  - Check mode asks the agent for the plan of the action and stores nothing. A plan that refuses fails the task.
  - Arguments that the agent declares as secret are masked in all output.
options:
  kind:
    description: The kind of the action, as C(agentctl kinds) lists it.
    type: str
    required: true
  args:
    description: The arguments of the action.
    type: dict
    default: {}
  run_id:
    description:
      - Identifies a run of a playbook. With the same run_id an action with the same arguments is scheduled once on an
        agent, also when the playbook was killed and is run again. The module then waits for the action of the first
        pass and returns its result.
      - An agent remembers this for at least 24 hours.
      - 1 to 100 letters, digits and signs, without a space.
    type: str
  step:
    description: Distinguishes two equal actions of one run.
    type: str
    default: ""
  retry_failed:
    description: Repeat the action if it failed, expired or was cancelled in an earlier pass of the same O(run_id).
    type: bool
    default: false
  reason:
    description: The reason, such as a ticket; stored with the action.
    type: str
  wait:
    description: Wait until the action is final. Otherwise its id is returned at once.
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait; 0 for as long as the action may run. The action continues after this time.
    type: int
    default: 0
  not_before:
    description: The action starts at this time (RFC 3339) or later.
    type: str
  not_after:
    description: The action expires if it has not started at this time (RFC 3339).
    type: str
  output_lines:
    description: The number of lines of output to return, from the end.
    type: int
    default: 20
extends_documentation_fragment:
  - datastore.agent.agent
attributes:
  diff_mode:
    description: Returns the steps of the plan and what would be discarded.
    support: full
author:
  - The authors of the agent (@datastore-agent)
"""

EXAMPLES = r"""
- name: Restart the service gracefully
  datastore.agent.agent_action:
    kind: replicante.service.gracefulrestart
    run_id: "{{ run_id }}"
    reason: OPS-17

- name: Rebuild a replica, from the controller
  datastore.agent.agent_action:
    url: "https://{{ inventory_hostname }}:8000"
    token_file: ~/.config/agent/token
    kind: resync_slave_db
    args:
      primary: db-1
    run_id: "{{ run_id }}"
  delegate_to: localhost
"""

RETURN = r"""
action:
  description: The action as the agent's info route answers it.
  returned: when an action was scheduled
  type: dict
result:
  description: The payload of the final state.
  returned: when the action is final
  type: raw
replayed:
  description: Whether the action had been scheduled in an earlier pass of the same run.
  returned: when an action was scheduled
  type: bool
output:
  description: The last lines that the action printed.
  returned: when the action is final
  type: list
  elements: str
plan:
  description: What the action would do.
  returned: in check mode
  type: dict
"""

import hashlib
import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.datastore.agent.plugins.module_utils.arguments import OPTION, arguments
from ansible_collections.datastore.agent.plugins.module_utils.client import Client, Refused, Unreachable
from ansible_collections.datastore.agent.plugins.module_utils.connection import run, run_id_of

OPTIONS: dict[str, dict[str, Any]] = {
    "kind": {"type": "str", "required": True},
    "args": OPTION,
    "run_id": {"type": "str"},
    "step": {"type": "str", "default": ""},
    "retry_failed": {"type": "bool", "default": False},
    "reason": {"type": "str"},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 0},
    "not_before": {"type": "str"},
    "not_after": {"type": "str"},
    "output_lines": {"type": "int", "default": 20},
}
PASSES = 20
"""How often one action of a run may be repeated."""
MAY_BE_REPEATED = ("failed", "cancelled", "expired")
"""Outcomes after which the action has certainly ended. After `interrupted` and `timed_out` this is unknown."""


def main() -> None:
    """Runs the module."""
    run(act, OPTIONS)


def act(module: AnsibleModule, client: Client) -> dict[str, Any]:
    """Plan the action in check mode, else schedule it and wait for its end."""
    run_id_of(module)
    args, public = arguments(module, client)
    if module.check_mode:
        return planned(module, client.post("plan", module.params["kind"], args).body)
    action_id, replayed = scheduled(client, module.params, args, public)
    if not module.params["wait"]:
        return {"changed": not replayed, "replayed": replayed, "action": {"id": action_id}}
    timeout = module.params["wait_timeout"] or None
    try:
        *_, info = client.changes(action_id, timeout)
    except Unreachable as error:
        again = f", or run the task again with run_id {module.params['run_id']}" if module.params["run_id"] else ""
        look = f"the action {action_id} may continue: see agentctl info {action_id}{again}"
        raise Unreachable(f"{error}; {look}") from error
    return ended(module, client, info["action"], replayed)


def planned(module: AnsibleModule, plan: dict[str, Any]) -> dict[str, Any]:
    """The result of check mode."""
    if plan["would"] == "refuse":
        refusal = plan["refusal"] or {}
        module.fail_json(msg=f"{plan['kind']} would be refused: {refusal.get('reason') or plan['summary']}", plan=plan)
    lost = [f"lost: {each['amount']} {each['unit']} of {each['what']}" for each in plan["discards"]]
    after = "\n".join([plan["summary"], *plan["steps"], *lost, ""])
    return {"changed": plan["would"] != "nothing", "plan": plan, "diff": {"before": "", "after": after}}


def scheduled(client: Client, params: dict[str, Any], args: dict[str, Any], public: dict[str, Any]) -> tuple[str, bool]:
    """The id of the action, and whether an earlier pass of the run has scheduled it.

    The key holds a hash of the public arguments alone: one of a password could be guessed.
    """
    terms = {"not_before": params["not_before"], "not_after": params["not_after"], "action_reason": reason(params)}
    headers = {name: value for name, value in terms.items() if value}
    if params["run_id"] is None:
        return client.schedule(params["kind"], args, **headers), False
    for number in range(PASSES):
        key = _key(params, public, number)
        action_id = client.schedule(params["kind"], args, key=key, **headers)
        if not (client.replayed and params["retry_failed"] and _may_be_repeated(client, action_id)):
            break
    return action_id, client.replayed


def reason(params: dict[str, Any]) -> str:
    """The reason to store: the id of the run, by which later passes find the action, and the reason given."""
    words = [f"run {params['run_id']}" if params["run_id"] else "", params["reason"] or ""]
    return ": ".join(filter(None, words))


def ended(module: AnsibleModule, client: Client, action: dict[str, Any], replayed: bool) -> dict[str, Any]:
    """The result of a final action; fails the task if the action did not succeed."""
    result = {"action": action, "result": action["state_payload"], "replayed": replayed}
    result["output"] = _printed(client, action["id"], module.params["output_lines"])
    if action["outcome"] != "done":
        earlier = " in an earlier pass of this run" if replayed else ""
        message = f"{action['kind']} {action['outcome'].replace('_', ' ')}{earlier}: {action['message']}"
        module.fail_json(msg=message, changed=not replayed, **result)
    return {"changed": not replayed, **result}


def _key(params: dict[str, Any], public: dict[str, Any], number: int) -> str:
    content = json.dumps([params["kind"], public, params["step"], number], sort_keys=True)
    return f"{params['run_id']}-{hashlib.sha256(content.encode()).hexdigest()[:32]}"


def _may_be_repeated(client: Client, action_id: str) -> bool:
    return client.info(action_id)["action"]["outcome"] in MAY_BE_REPEATED


def _printed(client: Client, action_id: str, lines: int) -> list[str]:
    if lines <= 0:
        return []
    try:
        text = b"".join(client.output(action_id, follow=False)).decode(errors="replace")
    except Refused:
        return []  # the action has no output, or the caller may not read it
    return text.splitlines()[-lines:]


if __name__ == "__main__":
    main()
