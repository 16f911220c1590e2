"""What the words of a command line mean to a running agent: kinds, their arguments, and actions."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.client import ACTIONS, Client

LONGEST_NUMBER = 8
"""Digits: a longer text of digits is the beginning of a uuid."""
UUID = 36
"""Characters."""


class Usage(Exception):
    """The command cannot be carried out as it was given."""


def kind_named(client: Client, name: str) -> dict[str, Any]:
    """The kind of that name, or of which it is the unique last part. Raises `Usage`."""
    kinds: list[dict[str, Any]] = client.get(f"{ACTIONS}/available").body
    if found := [each for each in kinds if each["kind"] == name]:
        return found[0]
    found = [each for each in kinds if each["kind"].endswith(f".{name}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise Usage(f"several kinds end with {name}: {', '.join(each['kind'] for each in found)}")
    raise Usage(f"unknown kind: {name}; agentctl available lists the kinds of this agent")


def typed(kind: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """The arguments, typed by the kind's schema. Raises `Usage`."""
    properties = kind["args"].get("properties", {})
    return dict(_arg(kind["kind"], properties, word) for word in words)


def _arg(kind: str, properties: Mapping[str, Any], word: str) -> tuple[str, Any]:
    name, is_json, text = word.partition(":=")
    if not is_json or "=" in name:
        name, equals, text = word.partition("=")
        is_json = ""
        if not equals:
            raise Usage(f"expected NAME=VALUE, got {word}")
    if properties and name not in properties:
        raise Usage(f"{kind} has no argument {name}; it has {', '.join(properties)}")
    schema = properties.get(name, {})
    if text.startswith("@") and not is_json:
        text = _read(text[1:])
    elif schema.get("writeOnly"):
        raise Usage(f"{name} is a secret: give it as {name}=@FILE or {name}=@- and not on the command line")
    types = schema.get("type", [])
    declared = set([types] if isinstance(types, str) else types)
    if is_json or (declared and "string" not in declared):
        try:
            return name, json.loads(text)
        except ValueError:
            expected = "JSON" if is_json else " or ".join(sorted(declared))
            raise Usage(f"{name}: expected {expected}, got {text[:40]}") from None
    return name, text


def _read(file: str) -> str:
    text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    return text.removesuffix("\n")


def action_id(client: Client, given: str) -> str:
    """The id that is meant. Raises `Usage` where that is none or several."""
    if given == "@running":
        found = client.get(f"{ACTIONS}/list", state="RUNNING").body["items"]
    elif given == "@last":
        found = client.get(f"{ACTIONS}/list", limit=1).body["items"]
    elif (given.isdecimal() and len(given) < LONGEST_NUMBER) or len(given) == UUID:
        return given
    else:
        items = client.get(f"{ACTIONS}/list", limit=500).body["items"]
        found = [each for each in items if each["id"].startswith(given.lower())]
    if len(found) != 1:
        raise Usage(f"{'several actions match' if found else 'no recent action matches'} {given}")
    return str(found[0]["id"])
