"""The arguments of an action: their types and secrets, as the agent declares them."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.datastore.agent.plugins.module_utils.client import ACTIONS, Client

OPTION: dict[str, Any] = {"type": "dict", "default": {}, "no_log": True}
"""With `no_log`, else Ansible writes the values to the log of the host before the module begins."""
HIDDEN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
"""What Ansible shows for a secret."""


class Arguments(NamedTuple):
    """All arguments as the agent expects them, and those that may be shown."""

    all: dict[str, Any]
    public: dict[str, Any]


def arguments(module: AnsibleModule, client: Client) -> Arguments:
    """The arguments in `args` for `kind`. From now on Ansible shows the public ones and masks the others."""
    given, module.params["args"] = module.params["args"], dict.fromkeys(module.params["args"], HIDDEN)
    module.no_log_values.difference_update(_texts(given))  # else an argument 1 hides each 1 of a message
    schema = _schema(client, module.params["kind"])
    declared = schema.get("properties", {})
    typed = {name: _typed(value, declared.get(name, {})) for name, value in given.items()}
    public = {name: value for name, value in typed.items() if _is_public(schema, name)}
    module.no_log_values.update(_texts([value for name, value in given.items() if name not in public]))
    module.params["args"] = given
    return Arguments(typed, public)


def _schema(client: Client, kind: str) -> dict[str, Any]:
    """The declarations of the arguments; empty for a kind that the agent does not offer and will refuse."""
    offered = {each["kind"]: each for each in client.get(f"{ACTIONS}/available").body}
    return dict(offered.get(kind, {}).get("args", {}))


def _is_public(schema: dict[str, Any], name: str) -> bool:
    """An argument that the agent does not know may be a secret under a misspelt name."""
    declared = schema.get("properties", {}).get(name)
    return bool(schema.get("additionalProperties")) if declared is None else not declared.get("writeOnly")


def _texts(value: Any) -> set[str]:
    """The texts and numbers in a value, as Ansible masks them."""
    if isinstance(value, dict):
        return _texts(list(value.values()))
    if isinstance(value, list):
        return set().union(*map(_texts, value))
    return (
        {str(value)} if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "" else set()
    )


def _typed(value: Any, schema: dict[str, Any]) -> Any:
    """By default a template gives text also for numbers and truth values."""
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if isinstance(value, str) and "string" not in types and {"integer", "number", "boolean"} & set(types):
        try:
            return json.loads(value.lower())
        except ValueError:
            return value
    return value
