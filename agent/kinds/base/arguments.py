"""Fields for the arguments of kinds, and the spellings that clients use for some of them."""

import re
from typing import Any

from marshmallow import Schema, fields

from agent.datastores.replication_requests import Lag

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
    """The arguments, with each unknown spelling replaced by its twin if the schema declares the twin."""
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
