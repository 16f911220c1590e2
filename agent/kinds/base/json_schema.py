"""The JSON Schema of the input of a marshmallow schema, for callers and for the OpenAPI document."""

from typing import Any

from marshmallow import Schema, fields, validate

from agent.kinds.base.arguments import MOST_NAMES, LagLimit, Names, OnOff

TYPES: dict[type[fields.Field[Any]], dict[str, Any]] = {
    fields.Boolean: {"type": "boolean"},
    fields.Integer: {"type": "integer"},
    fields.Float: {"type": "number"},
    fields.String: {"type": "string"},
    fields.Dict: {"type": "object"},
    fields.Raw: {},
}


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
