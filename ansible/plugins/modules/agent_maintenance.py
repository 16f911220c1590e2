#!/usr/bin/python
"""Turn the maintenance mode of a node on or off."""

from __future__ import annotations

DOCUMENTATION = r"""
module: agent_maintenance
short_description: Turn the maintenance mode of a datastore host on or off
description:
  - Schedules C(maintenance_mode) if the mode differs from O(enabled), and waits for its end.
options:
  enabled:
    description: The wanted mode.
    type: bool
    required: true
  reason:
    description: The reason, such as a ticket; stored with the action.
    type: str
extends_documentation_fragment:
  - datastore.agent.agent
attributes:
  diff_mode:
    description: Returns the state before and after.
    support: full
author:
  - The authors of the agent (@datastore-agent)
"""

EXAMPLES = r"""
- name: Begin the maintenance
  datastore.agent.agent_maintenance:
    enabled: true
    reason: OPS-17
"""

RETURN = r"""
action:
  description: The action that changed the mode.
  returned: when the mode was changed
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.datastore.agent.plugins.module_utils.client import Client
from ansible_collections.datastore.agent.plugins.module_utils.connection import run

KIND = "maintenance_mode"
OPTIONS: dict[str, dict[str, Any]] = {"enabled": {"type": "bool", "required": True}, "reason": {"type": "str"}}


def main() -> None:
    """Runs the module."""
    run(turn, OPTIONS)


def turn(module: AnsibleModule, client: Client) -> dict[str, Any]:
    """Ask for the plan, and schedule the action if it would change something."""
    enabled = module.params["enabled"]
    args = {"value": "on" if enabled else "off"}
    plan = client.post("plan", KIND, args).body
    if plan["would"] == "refuse":
        module.fail_json(msg=f"{KIND} would be refused: {plan['summary']}", plan=plan)
    if plan["would"] == "nothing":
        return {"changed": False}
    diff = {"before": f"maintenance: {not enabled}\n", "after": f"maintenance: {enabled}\n"}
    if module.check_mode:
        return {"changed": True, "diff": diff}
    headers = {"action_reason": module.params["reason"]} if module.params["reason"] else {}
    *_, info = client.changes(client.schedule(KIND, args, **headers))
    action = info["action"]
    if action["outcome"] != "done":
        module.fail_json(msg=f"{KIND} {action['outcome']}: {action['message']}", action=action)
    return {"changed": True, "diff": diff, "action": action}


if __name__ == "__main__":
    main()
