"""Fields for the arguments of kinds, and the JSON Schema that describes the arguments to callers."""

import re
from typing import Any

from marshmallow import Schema, fields, validate

from agent.datastores.replication_requests import Lag

TYPES: dict[type[fields.Field[Any]], dict[str, Any]] = {
    fields.Boolean: {"type": "boolean"},
    fields.Integer: {"type": "integer"},
    fields.Float: {"type": "number"},
    fields.String: {"type": "string"},
    fields.Dict: {"type": "object"},
    fields.Raw: {},
}


MOST_NAMES = 100
"""Maximum number of names in one argument."""
TWINS = (
    ("container", "container_id"),
    ("service_name", "service"),
    ("process_name", "process-name"),
    ("server", "server_uid"),
    ("server_group", "db_type"),
)
"""Arguments that clients of the AsyncAction resource spell in two ways."""
TWIN_OF = {name: twin for pair in TWINS for name, twin in (pair, pair[::-1])}


def spelled_as_declared(schema: Schema, args: dict[str, Any]) -> dict[str, Any]:
    """The arguments, with each unknown spelling replaced by its twin where the schema declares the twin."""
    declared = schema.load_fields
    spelled = {}
    for name, value in args.items():
        twin = TWIN_OF.get(name)
        known = name in declared or twin not in declared or twin in args
        spelled[name if known else str(twin)] = value
    return spelled


class Number(fields.Float):
    """A JSON number. A string that looks like a number is refused."""

    def _validated(self, value: Any) -> float:
        if not isinstance(value, int | float):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Whole(fields.Integer):
    """A JSON number without a fraction: 8.0 is accepted as 8. A string that looks like a number is refused."""

    def _validated(self, value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Flag(fields.Boolean):
    """A JSON true or false. Strings and numbers are refused."""

    truthy = {True}
    falsy = {False}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Listed(fields.List[Any]):
    """A list that checks its length before its items: a long list gets one error, not one for each item."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if isinstance(value, list):
            self._validate(value)
        return super()._deserialize(value, attr, data, **kwargs)


class Names(fields.Field[list[str]]):
    """A name or a list of names."""

    default_error_messages = {
        "invalid": "Not a name or a list of names.",
        "many": f"More than {MOST_NAMES} names.",
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[str]:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise self.make_error("invalid")
        if len(names) > MOST_NAMES:
            raise self.make_error("many")
        return names


class LagLimit(fields.Field[Lag]):
    """A lag: bytes as a number, or a string with a unit of bytes or seconds, such as "16MB" or "5s"."""

    FORM = re.compile(r"(\d{1,12}(?:\.\d{1,3})?) ?(B|kB|MB|GB|s|min)", re.ASCII)
    BYTES = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
    SECONDS = {"s": 1, "min": 60}
    default_error_messages = {"invalid": 'Not a lag: bytes as a number, or a text such as "16MB" or "5s".'}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Lag:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return Lag(bytes=value)
        found = self.FORM.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise self.make_error("invalid")
        amount, unit = float(found[1]), found[2]
        if unit in self.BYTES:
            return Lag(bytes=int(amount * self.BYTES[unit]))
        return Lag(seconds=amount * self.SECONDS[unit])


class OnOff(fields.Field[bool]):
    """On or off, in each spelling of `ON` and `OFF`."""

    ON = (True, 1, "on", "true", "1")
    OFF = (False, 0, "off", "false", "0")
    default_error_messages = {"invalid": "Not on or off: 1 or 0, true or false."}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if isinstance(value, bool | int | float | str) and value in self.ON + self.OFF:
            return value in self.ON
        raise self.make_error("invalid")


def json_schema(schema: Schema) -> dict[str, Any]:
    """The JSON Schema (2020-12) of the input that the marshmallow schema accepts."""
    described: dict[str, Any] = {
        "type": "object",
        "properties": {field.data_key or name: _field(field) for name, field in schema.load_fields.items()},
        "additionalProperties": schema.unknown != "raise",
    }
    if required := [field.data_key or name for name, field in schema.load_fields.items() if field.required]:
        described["required"] = required
    return described


def _field(field: "fields.Field[Any]") -> dict[str, Any]:
    described = _type(field)
    if text := field.metadata.get("description"):
        described["description"] = text
    if form := field.metadata.get("format"):
        described["format"] = form
    if field.metadata.get("secret"):
        described["writeOnly"] = True
    if isinstance(field.load_default, bool | int | float | str | list):
        described["default"] = field.load_default
    for validator in field.validators:
        described |= _limits(validator, "Items" if isinstance(field, fields.List) else "Length")
    if field.allow_none and "type" in described:
        described["type"] = [described["type"], "null"]
    return described


def _type(field: "fields.Field[Any]") -> dict[str, Any]:
    if isinstance(field, fields.List):
        return {"type": "array", "items": _field(field.inner)}
    if isinstance(field, Names):
        return {"type": ["string", "array"], "items": {"type": "string"}, "maxItems": MOST_NAMES}
    if isinstance(field, LagLimit):
        return {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{field.FORM.pattern}$"}]}
    if isinstance(field, OnOff):
        return {"enum": [*field.ON, *field.OFF]}
    if isinstance(field, fields.Nested):
        return json_schema(field.schema)
    if isinstance(field, fields.Dict) and field.value_field is not None:
        return {"type": "object", "additionalProperties": _field(field.value_field)}
    for cls, described in TYPES.items():
        if isinstance(field, cls):
            return dict(described)
    return {}


def _limits(validator: Any, counted: str) -> dict[str, Any]:
    if isinstance(validator, validate.Range):
        limits = {"minimum": validator.min, "maximum": validator.max}
    elif isinstance(validator, validate.Length):
        limits = {f"min{counted}": validator.min, f"max{counted}": validator.max}
    elif isinstance(validator, validate.OneOf):
        limits = {"enum": list(validator.choices)}
    elif isinstance(validator, validate.Regexp):
        limits = {"pattern": _ecma(str(validator.regex.pattern))}
    else:
        limits = {}
    return {name: value for name, value in limits.items() if value is not None}


def _ecma(pattern: str) -> str:
    """A pattern of Python as ECMA-262 writes it; marshmallow matches at the beginning, a JSON Schema anywhere."""
    pattern = pattern.replace(r"\Z", r"$(?!\n)")
    return pattern if pattern.startswith("^") else f"^(?:{pattern})"
