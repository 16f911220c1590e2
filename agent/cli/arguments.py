"""Parses the kind and the arguments of a command line; arguments are typed by the kind's schema."""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.cli.exits import Missing, Usage, readable
from agent.client import ACTIONS, Client

SECRET = (
    "use {0}=@FILE, {0}=@- (standard input), or {0} alone to enter it on a terminal; never put it on the command line"
)


def kind_named(client: Client, name: str) -> dict[str, Any]:
    """The kind with this name, or the only kind whose name ends with it. Raises `Usage`, `Missing`."""
    kinds: list[dict[str, Any]] = client.get(f"{ACTIONS}/available").body
    if found := [each for each in kinds if each["kind"] == name]:
        return found[0]
    found = [each for each in kinds if each["kind"].endswith(f".{name}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise Usage(f"several kinds end with {name}: {', '.join(each['kind'] for each in found)}")
    missing: list[dict[str, Any]] = client.get(f"{ACTIONS}/available", missing="true").body
    for each in missing:
        if each["kind"] == name or each["kind"].endswith(f".{name}"):
            raise Missing(f"{each['kind']} is not available on this node: {each['reason']}")
    raise Missing(f"unknown kind: {name}{_closest(name, kinds)}; agentctl kinds lists the kinds of this agent")


def _closest(name: str, kinds: Sequence[Mapping[str, Any]]) -> str:
    from difflib import get_close_matches

    if has_word := [each["kind"] for each in kinds if name in each["kind"].split(".")]:
        return f"; the closest is {has_word[0]}"
    short = {each["kind"].rpartition(".")[2]: each["kind"] for each in kinds}
    close = get_close_matches(name, short | {each["kind"]: each["kind"] for each in kinds}, n=1)
    return f"; the closest is {short.get(close[0], close[0])}" if close else ""


def typed(kind: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """The arguments of `NAME=VALUE`, `NAME:=JSON`, `NAME=@FILE`, typed by the kind's schema. Raises `Usage`.

    A missing required secret is read from the terminal.
    """
    properties: Mapping[str, Any] = kind["args"].get("properties", {})
    args: dict[str, Any] = {}
    for name, value in (_arg(kind["kind"], properties, word) for word in words):
        if name in args:
            raise Usage(f"{name} is given twice")
        args[name] = value
    return args | {name: _entered(name) for name in _missing_secrets(kind, args)}


def _missing_secrets(kind: Mapping[str, Any], args: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in kind["args"].get("properties", {}).items():
        if schema.get("writeOnly") and name in kind["args"].get("required", []) and name not in args:
            yield name


def _arg(kind: str, properties: Mapping[str, Any], word: str) -> tuple[str, Any]:
    found = re.match(r"([^=:]*)(:=|=)", word)
    name = found[1] if found else word
    schema = properties.get(name, {})
    if found is None and not schema.get("writeOnly"):
        raise Usage(f"expected NAME=VALUE, got {word}")
    if properties and name not in properties:
        raise Usage(f"{kind} has no argument {name}; it has {', '.join(properties)}")
    if found is None:
        return name, _entered(name)
    text = word[found.end() :]
    if found[2] == "=" and text.startswith("@"):
        return name, _value(name, schema, _read(name, text[1:]))
    if schema.get("writeOnly"):
        raise Usage(f"{name} is a secret: {SECRET.format(name)}")
    return name, _json(name, text) if found[2] == ":=" else _value(name, schema, text)


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise Usage(f"{name}: expected JSON, got {text[:40]}") from None


def _value(name: str, schema: Mapping[str, Any], text: str) -> Any:
    """The value for the schema: the text itself if a string is allowed, else parsed as JSON. Raises `Usage`."""
    allowed = list(_allowed(schema))
    if not allowed or any(_takes_text(each, text, only=len(allowed) == 1) for each in allowed):
        return text
    types = sorted({str(each["type"]) for each in allowed if "type" in each} - {"null"})
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if isinstance(value, str) and not any(each.get("type") == "string" for each in allowed):
        raise Usage(f"{name}: expected {' or '.join(types)}, got {text[:40]}{_hint(name, types, text)}")
    return value


def _allowed(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The alternatives of a schema, each with one type or an enum."""
    for each in schema.get("anyOf", ()):
        yield from _allowed(each)
    types = schema.get("type", [])
    for each in [types] if isinstance(types, str) else types:
        yield {**schema, "type": each}
    if "type" not in schema and "enum" in schema:
        yield schema


def _takes_text(schema: Mapping[str, Any], text: str, *, only: bool) -> bool:
    """Whether the schema accepts the text as a string. `only`: no alternative, so the agent checks the pattern."""
    if "type" not in schema:
        return text in schema["enum"]
    if schema["type"] != "string":
        return False
    return only or "pattern" not in schema or re.search(schema["pattern"], text) is not None


def _hint(name: str, types: Sequence[str], text: str) -> str:
    """For a list, how to write it in a shell; else empty."""
    return f"; write {name}:='{json.dumps([text])}'" if types == ["array"] else ""


def _read(name: str, file: str) -> str:
    text = sys.stdin.read() if file == "-" else readable(file, f"{name}: the file")
    return text.removesuffix("\n")


def _entered(name: str) -> str:
    """A secret, typed twice without echo, because a typing error would lock its user out. Raises `Usage`."""
    if not sys.stdin.isatty():
        raise Usage(f"{name} is a secret that is missing: {SECRET.format(name)}")
    from getpass import getpass

    first = getpass(f"{name}: ", stream=sys.stderr)
    if getpass(f"{name} again: ", stream=sys.stderr) != first:
        raise Usage(f"{name}: the two entries differ: nothing was sent to the agent")
    return first
