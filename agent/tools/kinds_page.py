"""Generates the page that documents every kind, from the kinds' classes."""

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

from agent.kinds.base import Kind
from agent.kinds.base.json_schema import json_schema
from agent.kinds.base.registry import kinds_of, own_modules

HEAD = """\
Kinds
=====

All kinds of the agent. ``GET /api/unstable/actions/available`` lists the kinds that a node offers. A kind that is not
offered is answered with 404; the message names the option to set or the package to install. Both APIs accept every
kind with the same arguments.

The result is ``state_payload`` of the ``DONE`` action and ``finished_result`` of the AsyncAction. The AsyncAction shows
a result that is not an object as ``{}`` or ``{"payload": ...}``. A failed action has ``{"message": ...}`` and details:
``payload`` for a stage of ``replicante.service.*``, ``error`` for a command of ``external.*``.
"""


def document() -> str:
    """The whole page, in reStructuredText."""
    found = [cls for module in own_modules() for cls in kinds_of(module)]
    classes = sorted(found, key=lambda cls: (cls.name.startswith("replicante."), cls.name))
    return "\n".join([HEAD, *("\n".join(_section(cls)) for cls in classes)])


def _section(cls: type[Kind]) -> Iterator[str]:
    title = f"``{cls.name}``" if cls.name != "external" else "``external.<name>``"
    yield from (title, "-" * len(title), "", _flat(inspect.getdoc(cls)), "")
    yield from _members("Arguments", json_schema(cls.args()))
    if cls.result is not None:
        yield from _members("Result", json_schema(cls.result()))
    limit = f"may run for {cls.timeout:g} s unless ``actions.timeouts`` sets another limit"
    yield f"Acts on a ``{cls.resource_type}``; {limit}."
    yield ""
    yield f":Danger: ``{cls.danger.value}``"
    yield from (f":Configuration: {cls.configuration}", f":Privileges: {cls.privileges}")
    yield from (f":After an interruption: {cls.interruption}", "")


def _members(title: str, schema: dict[str, Any]) -> Iterator[str]:
    if not schema["properties"]:
        return
    yield from (f"{title}:", "")
    for name, described in schema["properties"].items():
        needed = "" if title == "Result" else ", required" if name in schema.get("required", ()) else ", optional"
        text = _flat(described.get("description"))
        yield f"* ``{name}`` ({_type(described)}{needed}{_default(described)}): {text}".rstrip(": ")
    yield ""


def _type(described: dict[str, Any]) -> str:
    if "enum" in described:
        shown = [each if isinstance(each, str) else json.dumps(each) for each in described["enum"]]
        return " or ".join(f"``{each}``" for each in dict.fromkeys(shown))
    if described.get("writeOnly"):
        return "string, secret"
    if described.get("type") == "array":
        return f"list of {described['items'].get('type', 'any')}s"
    types = described.get("type", "any")
    return " or ".join(types) if isinstance(types, list) else str(types)


def _default(described: dict[str, Any]) -> str:
    return f", {described['default']} unless given" if described.get("default") not in (None, []) else ""


def _flat(text: str | None) -> str:
    """The text in one line, with single backquotes doubled for reStructuredText."""
    return re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", " ".join((text or "").split()))
