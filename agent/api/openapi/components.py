"""The schemas of answers as components that refer to each other, in a form that generators of clients can read."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from marshmallow import Schema

from agent.kinds.base.json_schema import json_schema
from agent.models import Outcome, Requester, State
from agent.plan import Danger, Would

JsonSchema = dict[str, Any]
ENUMS: tuple[type[StrEnum], ...] = (State, Outcome, Requester, Danger, Would)
TYPE_NAMES = {bool: "boolean", int: "integer", str: "string", type(None): "null"}


def of(schemas: Mapping[str, type[Schema]]) -> dict[str, JsonSchema]:
    """The schemas by name; nested schemas and enums are references."""
    own = {name: json_schema(each()) for name, each in schemas.items()}
    names = {_key(each): name for name, each in own.items()} | {_key(_enum(each)): each.__name__ for each in ENUMS}
    found = {name: _members(each, names) | {"description": _text(schemas[name])} for name, each in own.items()}
    return found | {each.__name__: _enum(each) | {"description": _text(each)} for each in ENUMS}


def reference(name: str) -> JsonSchema:
    return {"$ref": f"#/components/schemas/{name}"}


def portable(schema: JsonSchema, names: Mapping[str, str] | None = None) -> JsonSchema:
    """The same schema without values of several types in one enum: one alternative for each type."""
    known = names or {}
    about = {key: schema[key] for key in ("description", "default", "writeOnly") if key in schema}
    rest = {key: value for key, value in schema.items() if key not in about}
    types = rest.get("type")
    if isinstance(types, list) and "null" in types:
        others = [each for each in types if each != "null"]
        inner = rest | {"type": others[0] if len(others) == 1 else others}
        if name := known.get(_key(inner)):
            return {"anyOf": [reference(name), {"type": "null"}]} | about
        if "enum" in rest:
            return {"anyOf": [_without_null(inner), {"type": "null"}]} | about
    if name := known.get(_key(rest)):
        return reference(name) | about
    if "enum" in rest and "type" not in rest and len(alternatives := _by_type(rest["enum"])) > 1:
        return {"anyOf": alternatives} | about
    return _members(rest, known) | about


def _members(schema: JsonSchema, names: Mapping[str, str]) -> JsonSchema:
    found = dict(schema)
    if "properties" in schema:
        found["properties"] = {name: portable(each, names) for name, each in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found[key] = portable(schema[key], names)
    if "anyOf" in schema:
        found["anyOf"] = [portable(each, names) for each in schema["anyOf"]]
    return found


def _by_type(values: list[Any]) -> list[JsonSchema]:
    found: dict[str, list[Any]] = {}
    for each in values:
        found.setdefault(TYPE_NAMES[type(each)], []).append(each)
    return [{"type": name} | ({} if name == "boolean" else {"enum": some}) for name, some in found.items()]


def _without_null(schema: JsonSchema) -> JsonSchema:
    return schema | {"enum": [each for each in schema["enum"] if each is not None]}


def _enum(each: type[StrEnum]) -> JsonSchema:
    return {"type": "string", "enum": [str(value) for value in each]}


def _key(schema: JsonSchema) -> str:
    return json.dumps(schema, sort_keys=True)


def _text(each: type) -> str:
    return " ".join((each.__doc__ or "").split())
