"""The JSON Schema of the configuration, for editors and for checks outside of this host."""

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from agent import config

TYPES: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    Path: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
}
ALSO_TEXT = ("bind",)
"""Lists for which a single string is accepted too."""
ALSO_NUMBER = ("socket_mode",)


def document() -> dict[str, Any]:
    """The whole schema (2020-12)."""
    tables = {name: _table(section) for name, section in config.TABLES.items()}
    named = {name: _tables(section) for name, section in config.NAMED_TABLES.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of the agent",
        "type": "object",
        "properties": tables | named,
        "additionalProperties": False,
    }


def _tables(section: type[Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": _table(section)}


def _table(section: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(section)
    found: dict[str, Any] = {
        "type": "object",
        "description": (section.__doc__ or "").strip(),
        "properties": {each.name: _option(each, hints[each.name]) for each in fields(section)},
        "additionalProperties": False,
    }
    required = [each.name for each in fields(section) if each.default is MISSING and each.default_factory is MISSING]
    return found | ({"required": required} if required else {})


def _option(option: "Field[Any]", hint: Any) -> dict[str, Any]:
    if inner := option.metadata.get("section"):
        return _tables(inner) if "name" in option.metadata else _table(inner)
    found = _type(hint)
    if option.name in ALSO_TEXT:
        found = {"anyOf": [{"type": "string"}, found]}
    if option.name in ALSO_NUMBER:
        found = {"type": ["string", "integer"]}
    if isinstance(option.default, bool | int | float | str):
        found = found | {"default": option.default}
    return found | {"description": option.metadata["help"]}


def _type(hint: Any) -> dict[str, Any]:
    """The JSON Schema of an option's type, without None: TOML has no value for an option that is not set."""
    if hint in TYPES:
        return dict(TYPES[hint])
    origin, inner = get_origin(hint), [each for each in get_args(hint) if each not in (type(None), ...)]
    if origin in (Union, types.UnionType):
        return _type(inner[0]) if len(inner) == 1 else {"anyOf": [_type(each) for each in inner]}
    if origin is tuple:
        return {"type": "array", "items": _type(inner[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _type(inner[1])}
    return {}
