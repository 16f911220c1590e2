"""Prints results as a table, tab-separated text, JSON, JSON lines, YAML or only names."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from agent.cli.running import one_line

Row = Sequence[str]
JSON_SPECIAL = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"}


def items(
    found: Sequence[Mapping[str, Any]], head: Row, row: Callable[[Mapping[str, Any]], Row], form: str, name: str = "id"
) -> None:
    """Print a line for each item; JSON and YAML have the items as in the API."""
    if form in ("table", "tsv"):
        rows = [head, *map(row, found)]
        print("\n".join(_aligned(rows) if form == "table" else map(_tabbed, rows)))
    elif form == "jsonl":
        for each in found:
            print(json.dumps(each))
    elif form == "name":
        for each in found:
            print(one_line(str(each[name])))
    else:
        print(json.dumps(found) if form == "json" else yaml(found))


def members(found: Mapping[str, Any], form: str, name: str, text: Callable[[], str] | None = None) -> None:
    """Print one object: `text`, else a line for each member that is not null."""
    if form in ("json", "jsonl"):
        print(json.dumps(found))
    elif form == "yaml":
        print(yaml(found))
    elif form == "name":
        print(one_line(str(name)))
    elif form == "tsv":
        print("\n".join(_tabbed((key, shown(value))) for key, value in found.items() if value is not None))
    else:
        print(text() if text else pairs(found))


def pairs(found: Mapping[str, Any]) -> str:
    """A line for each member that is not null."""
    width = max(map(len, found), default=0)
    return "\n".join(f"{key.ljust(width)}  {shown(value)}" for key, value in found.items() if value is not None)


def shown(value: Any) -> str:
    """A value as readable text in one line."""
    return one_line(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _aligned(rows: Sequence[Row]) -> Iterator[str]:
    plain = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in plain) for column in range(len(plain[0]) - 1)]
    for row in plain:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[-1]]).rstrip()


def _tabbed(row: Row) -> str:
    return "\t".join(one_line("".join(JSON_SPECIAL.get(each, each) for each in cell)) for cell in row)


def yaml(value: Any, indent: int = 0) -> str:
    """The value as YAML: mappings and lists in block style, scalars as in JSON."""
    space = "  " * indent
    if isinstance(value, Mapping) and value:
        return "\n".join(f"{space}{_key(key)}:{_nested(each, indent)}" for key, each in value.items())
    if isinstance(value, list) and value:
        return "\n".join(f"{space}-{_nested(each, indent)}" for each in value)
    return space + json.dumps(value)


def _nested(value: Any, indent: int) -> str:
    if isinstance(value, Mapping | list) and value:
        return f"\n{yaml(value, indent + 1)}"
    return f" {json.dumps(value)}"


def _key(key: str) -> str:
    return (
        key
        if key.isidentifier() and key not in ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
        else json.dumps(key)
    )


# Actions

ACTION_HEAD = ("ID", "NUMBER", "KIND", "STATE", "SCHEDULED", "USER", "MESSAGE")


def actions(found: Sequence[Mapping[str, Any]], form: str) -> None:
    """Print a list of actions."""
    items(found, ACTION_HEAD, _action_row, form)


def _action_row(each: Mapping[str, Any]) -> Row:
    message = each["held"] or measured(each["progress"] or {}) or each["message"] or ""
    return (
        each["id"][:8], str(each["async_action_id"]), each["kind"], each["outcome"] or each["state"],
        each["scheduled_ts"], each["user"], message,
    )  # fmt: skip


ACTION_LABELS = {
    "id": "id", "number": "async_action_id", "kind": "kind", "state": "state", "outcome": "outcome",
    "message": "message", "held": "held", "reason": "reason", "args": "args", "user": "user",
    "requester": "requester", "approved by": "approved_by", "scheduled": "scheduled_ts", "not before": "not_before",
    "not after": "not_after", "started": "started_ts", "finished": "finished_ts", "headers": "headers",
    "payload": "state_payload",
}  # fmt: skip
"""The label of each member of an action, the important ones first, and its name in the API."""


def action(found: Mapping[str, Any]) -> dict[str, Any]:
    """The members of an action that have a value, by label."""
    known = {label: found.get(name) for label, name in ACTION_LABELS.items()}
    return {label: value for label, value in known.items() if value is not None and value != {}}


def progress(action: Mapping[str, Any]) -> str:
    """The state and progress of a running or waiting action in one line."""
    payload = action["state_payload"] if isinstance(action["state_payload"], dict) else {}
    found = payload.get("progress")
    place = {name: payload[name] for name in ("stage", "phase") if name in payload}
    measurement = measured(place | (found if isinstance(found, dict) else {}))
    parts = [action["state"], action.get("held"), payload.get("message"), measurement]
    return one_line("  ".join(str(part) for part in parts if part))


def measured(found: Mapping[str, Any]) -> str:
    """The known parts of a progress: stage or phase, percentage or bytes, rate, time left."""
    parts = [f"stage {found['stage']}"] if found.get("stage") is not None else []
    if found.get("phase"):
        parts.append(str(found["phase"]))
    if found.get("percent") is not None:
        parts.append(f"{found['percent']:g} %")
    elif found.get("bytes_done") is not None:
        parts.append(size(found["bytes_done"]))
    if found.get("rate") is not None:
        parts.append(f"{size(found['rate'])}/s")
    if found.get("seconds_left") is not None:
        parts.append(f"{found['seconds_left']:g} s left")
    return "  ".join(parts)


def size(count: float) -> str:
    """A size in bytes with a suitable unit."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 1024 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{count:.0f} B" if units[0] == "B" else f"{count:.1f} {units[0]}"


# Plans and kinds


def plan(found: Mapping[str, Any]) -> str:
    """A plan as text: what the action would do."""
    lines = [f"{found['would']}: {found['summary']}"]
    lines += [f"  - {step}" for step in found["steps"]]
    lines += [f"  discards: {_amount(each)}" for each in found["discards"]]
    lines += [f"  warning: {warning}" for warning in found["warnings"]]
    if found["refusal"]:
        reason = "" if found["refusal"]["reason"] == found["summary"] else f"{found['refusal']['reason']}; "
        lines.append(f"  refused: {reason}{found['refusal']['lifted_by']}")
    return "\n".join(map(one_line, lines))


def _amount(discards: Mapping[str, Any]) -> str:
    amount = "an unknown number of" if discards["amount"] is None else f"{discards['amount']:g}"
    return f"{discards['what']} ({amount} {discards['unit']})"


def kind(found: Mapping[str, Any]) -> str:
    """A kind and its arguments as text."""
    lines = [f"{found['kind']} (danger: {found['danger']})", f"  {found['description']}"]
    required = found["args"].get("required", [])
    for name, schema in found["args"].get("properties", {}).items():
        traits = ", ".join(_traits(schema, required=name in required))
        lines.append(f"  {name} ({traits}): {schema.get('description', '')}".rstrip(": "))
    return "\n".join(map(one_line, lines))


def _traits(schema: Mapping[str, Any], *, required: bool) -> Iterator[str]:
    """The type, values, limits and default of an argument."""
    types = schema.get("type", "any")
    yield types if isinstance(types, str) else " or ".join(types)
    if "enum" in schema:
        yield "one of " + " ".join(shown(each) for each in schema["enum"] if each is not None)
    if "minimum" in schema:
        yield f"at least {schema['minimum']}"
    if "maximum" in schema:
        yield f"at most {schema['maximum']}"
    if required:
        yield "required"
    if schema.get("default") is not None:
        yield f"default {shown(schema['default'])}"
    if schema.get("writeOnly"):
        yield "secret"
