"""Converts the strings of a form to the types of the arguments' fields."""

from typing import Any

from marshmallow import Schema, fields

from agent.kinds.base.arguments import OnOff, spelled_as_declared

WORDS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}


def form_args(schema: Schema, parameters: dict[str, Any]) -> dict[str, Any]:
    """The converted arguments. A value that cannot be converted stays a string, which its field refuses."""
    declared = schema.load_fields
    return {
        name: _read(declared[name], value) if name in declared else value
        for name, value in spelled_as_declared(schema, parameters).items()
    }


def with_lists(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters with `caches[]=a` as the list `caches`, even for one value.

    The value of an additional `caches=b` is the first of the list.
    """
    found = {name: value for name, value in parameters.items() if not name.endswith("[]")}
    for spelled in parameters.keys() - found.keys():
        name = spelled.removesuffix("[]")
        found[name] = [*_many(found.get(name, [])), *_many(parameters[spelled])]
    return found


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _read(field: "fields.Field[Any]", value: Any) -> Any:
    if isinstance(field, fields.List):
        return [_read(field.inner, each) for each in _many(value)]
    if isinstance(field, fields.Boolean | OnOff):
        return WORDS.get(str(value).lower(), value)
    if isinstance(field, fields.Integer | fields.Float):
        return _number(value)
    return value


def _number(value: Any) -> Any:
    for read in (int, float):
        try:
            return read(value)
        except (TypeError, ValueError):
            continue
    return value
