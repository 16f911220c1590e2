"""Makes form fields from the JSON Schema of a kind's arguments, and arguments from the entered texts."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agent.models import Json
from agent.util import strict_json
from agent.util.nesting_depth import too_deep

PREFIX = "arg."
WHOLE = "*"
"""The name of the only field of a kind that accepts any JSON."""
INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
FRACTION = re.compile(r"[+-]?[0-9]{1,18}\.[0-9]{1,18}", re.ASCII)
YES, NO = "yes", "no"


class Widget(StrEnum):
    """The input element of a field."""

    TEXT = "text"
    NUMBER = "number"
    SECRET = "secret"
    CHOICE = "choice"
    LINES = "lines"
    JSON = "json"


@dataclass(frozen=True)
class Field:
    """The field of one argument. `choices` are texts; `limits` describes the accepted values."""

    name: str
    schema: Mapping[str, Any]
    widget: Widget
    required: bool
    description: str
    limits: str
    choices: tuple[str, ...] = ()

    def argument(self, text: str) -> Json:
        """The argument for a text. A text of the wrong form is returned unchanged; the kind refuses it.

        Raises `ValueError` for JSON that cannot be parsed.
        """
        if self.widget is Widget.NUMBER:
            return _number(text.strip())
        if self.widget is Widget.LINES:
            lines = [each.strip() for each in text.splitlines() if each.strip()]
            return lines[0] if len(lines) == 1 and "string" in _types(self.schema) else lines
        if self.widget is Widget.JSON:
            return _json(text)
        if self.widget is Widget.CHOICE:
            return _choice(self.schema, text)
        return text

    def text(self, argument: Json) -> str:
        """The text for an argument, the inverse of `argument`."""
        if isinstance(argument, bool):
            return YES if argument else NO
        if self.widget is Widget.LINES and isinstance(argument, list):
            return "\n".join(map(str, argument))
        return argument if isinstance(argument, str) else json.dumps(argument, ensure_ascii=False)


def fields(schema: Mapping[str, Any]) -> list[Field]:
    """A field for each argument in the schema, required ones first."""
    if "properties" not in schema:
        described = "Any JSON; left empty, an empty object."
        return [Field(WHOLE, schema, Widget.JSON, False, described, "")]
    required = schema.get("required", ())
    found = [_field(name, each, name in required) for name, each in schema["properties"].items()]
    return sorted(found, key=lambda field: not field.required)


@dataclass(frozen=True)
class Entered:
    """The entered form: `texts` of the fields, `args` for the kind, and `wrong`: messages by argument."""

    texts: Mapping[str, str]
    args: Mapping[str, Json]
    wrong: Mapping[str, Sequence[str]]


def entered(fields: Sequence[Field], form: Mapping[str, str]) -> Entered:
    """Read a form. An empty field is a missing argument."""
    texts = {field.name: form.get(f"{PREFIX}{field.name}", "").replace("\r\n", "\n") for field in fields}
    args: dict[str, Json] = {}
    wrong: dict[str, list[str]] = {}
    for field in fields:
        if not texts[field.name].strip():
            continue
        try:
            args[field.name] = field.argument(texts[field.name])
        except ValueError as error:
            wrong[field.name] = [str(error)]
    return Entered(texts, args, wrong)


def _field(name: str, schema: Mapping[str, Any], required: bool) -> Field:
    description = str(schema.get("description", ""))
    choices = _choices(schema)
    return Field(name, schema, _widget(schema, choices), required, description, ", ".join(_limits(schema)), choices)


def _widget(schema: Mapping[str, Any], choices: Sequence[str]) -> Widget:
    types = _types(schema)
    if schema.get("writeOnly"):
        return Widget.SECRET
    if choices:
        return Widget.CHOICE
    if "array" in types:
        return Widget.LINES if schema.get("items", {}).get("type", "string") == "string" else Widget.JSON
    if types and types <= {"integer", "number"}:
        return Widget.NUMBER
    if "anyOf" in schema:
        return Widget.NUMBER if any("integer" in _types(each) for each in schema["anyOf"]) else Widget.JSON
    return Widget.TEXT if types == {"string"} else Widget.JSON


def _choices(schema: Mapping[str, Any]) -> tuple[str, ...]:
    values = [each for each in schema.get("enum", ()) if each is not None]
    if "boolean" in _types(schema) or (True in values and False in values and "on" in values):
        return YES, NO
    return tuple(each if isinstance(each, str) else json.dumps(each) for each in values)


def _types(schema: Mapping[str, Any]) -> set[str]:
    types = schema.get("type", [])
    return set([types] if isinstance(types, str) else types) - {"null"}


def _limits(schema: Mapping[str, Any]) -> Iterator[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None or high is not None:
        yield (
            f"{low} to {high}" if None not in (low, high) else f"at least {low}" if high is None else f"at most {high}"
        )
    if (longest := schema.get("maxLength")) is not None:
        yield f"at most {longest} characters"
    if "array" in _types(schema) and _widget(schema, ()) is Widget.LINES:
        yield "one on each line"
    if (default := schema.get("default")) not in (None, "", []):
        yield f"default: {YES if default is True else NO if default is False else default}"


def _number(text: str) -> Json:
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if FRACTION.fullmatch(text) else text


def _choice(schema: Mapping[str, Any], text: str) -> Json:
    if _choices(schema) == (YES, NO):
        return {YES: True, NO: False}.get(text, text)
    named = {each if isinstance(each, str) else json.dumps(each): each for each in schema.get("enum", ())}
    return named.get(text, text)


def _json(text: str) -> Json:
    if too_deep(text.encode(errors="replace")):
        raise ValueError("This is nested too deeply.")
    try:
        return strict_json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"This is not JSON: {error}") from None
