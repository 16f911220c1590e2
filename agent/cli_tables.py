"""How agentctl shows actions, kinds and plans to a person."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def progress(action: Mapping[str, Any]) -> str:
    """What a running or waiting action does now, in a line."""
    payload = action["state_payload"] if isinstance(action["state_payload"], dict) else {}
    found = payload.get("progress")
    measured = found if isinstance(found, dict) else {}
    parts = [action["state"], action.get("held"), payload.get("phase"), payload.get("message")]
    if "stage" in payload:
        parts.append(f"stage {payload['stage']}")
    if measured.get("percent") is not None:
        parts.append(f"{measured['percent']:g} %")
    if measured.get("seconds_left") is not None:
        parts.append(f"{measured['seconds_left']:g} s left")
    return "  ".join(str(part) for part in parts if part)


def print_items(items: Sequence[Mapping[str, Any]], output: str) -> None:
    """A line an action."""
    rows = [
        (
            each["id"][:8],
            str(each["async_action_id"]),
            each["kind"],
            each["outcome"] or each["state"],
            each["scheduled_ts"],
            each["user"],
            each["held"] or each["message"] or "",
        )
        for each in items
    ]
    print_table(("ID", "NUMBER", "KIND", "STATE", "SCHEDULED", "USER", "MESSAGE"), rows, items, output)


def print_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], items: Sequence[Mapping[str, Any]], output: str
) -> None:
    """A table of `rows`, or the `items` themselves as JSON, or their names."""
    if output == "json":
        print(json.dumps(items))
    elif output == "name":
        for each in items:
            print(each.get("id", each.get("kind")))
    else:
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head) - 1)]
        for row in [head, *rows]:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            print("  ".join([*cells, row[-1]]).rstrip())


def print_pairs(members: Mapping[str, Any]) -> None:
    """A line a member that is not null."""
    width = max(len(name) for name in members)
    for name, value in members.items():
        if value is not None:
            print(f"{name.ljust(width)}  {value if isinstance(value, str) else json.dumps(value)}")


def plan_text(plan: Mapping[str, Any]) -> str:
    """What an action would do."""
    lines = [f"{plan['would']}: {plan['summary']}"]
    lines += [f"  - {step}" for step in plan["steps"]]
    lines += [f"  discards: {_amount(each)}" for each in plan["discards"]]
    lines += [f"  warning: {warning}" for warning in plan["warnings"]]
    if plan["refusal"]:
        lines.append(f"  refused: {plan['refusal']['reason']}; {plan['refusal']['lifted_by']}")
    return "\n".join(lines)


def _amount(discards: Mapping[str, Any]) -> str:
    amount = "an unknown number of" if discards["amount"] is None else f"{discards['amount']:g}"
    return f"{discards['what']} ({amount} {discards['unit']})"


def kind_text(kind: Mapping[str, Any]) -> str:
    """A kind with its arguments."""
    lines = [f"{kind['kind']} ({kind['danger']})", f"  {kind['description']}"]
    required = kind["args"].get("required", [])
    for name, schema in kind["args"].get("properties", {}).items():
        types = schema.get("type", "any")
        shown = types if isinstance(types, str) else " or ".join(types)
        need = ", required" if name in required else ""
        lines.append(f"  {name} ({shown}{need}): {schema.get('description', '')}".rstrip(": "))
    return "\n".join(lines)
