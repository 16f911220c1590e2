"""The filter `to_toml`: a dictionary as a document in TOML."""

from __future__ import annotations

DOCUMENTATION = r"""
name: to_toml
short_description: Write a dictionary as TOML
version_added: 0.2.0
description:
  - Returns a document with one table for each dictionary, in the order of the input.
  - A value of null is left out, because TOML has none.
options:
  _input:
    description: A dictionary of texts, numbers, truth values, lists and dictionaries.
    type: dict
    required: true
author:
  - The authors of the agent (@datastore-agent)
"""

EXAMPLES = r"""
- name: Show a configuration
  ansible.builtin.debug:
    msg: "{{ {'api': {'bind': ['127.0.0.1:8000']}} | datastore.agent.to_toml }}"
"""

RETURN = r"""
_value:
  description: The document.
  type: str
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class FilterModule:
    """The class that Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filter, by its name."""
        return {"to_toml": to_toml}


def to_toml(document: Any) -> str:
    """The document in TOML; `AnsibleFilterError` for a value that TOML does not have."""
    if not isinstance(document, Mapping):
        raise AnsibleFilterError(f"to_toml: expected a dictionary, got {type(document).__name__}")
    return "\n".join("".join(lines) for lines in _tables((), document) if lines)


def _tables(path: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[list[str]]:
    """The lines of each table: its values first, then the tables in it."""
    known = {str(name): value for name, value in table.items() if value is not None}
    values = {name: value for name, value in known.items() if not isinstance(value, Mapping)}
    tables = {name: value for name, value in known.items() if isinstance(value, Mapping)}
    head = [f"[{'.'.join(map(_key, path))}]\n"] if path and (values or not tables) else []
    yield head + [f"{_key(name)} = {_value(value)}\n" for name, value in values.items()]
    for name, inner in tables.items():
        yield from _tables((*path, name), inner)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        pairs = (f"{_key(str(name))} = {_value(each)}" for name, each in value.items() if each is not None)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_value, value)) + "]"
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    raise AnsibleFilterError(f"to_toml: expected a text, number, truth value, list or dictionary, got {value!r}")


def _key(name: str) -> str:
    return name if BARE_KEY.fullmatch(name) else _text(name)


def _text(value: str) -> str:
    """JSON writes a text as TOML does, but for one control character."""
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
