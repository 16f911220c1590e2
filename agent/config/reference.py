"""The documented configuration file, written from the options themselves."""

import json
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from agent import config

HEAD = """\
# The configuration of the agent, with every option. An option that is set here has its default.
# Options without a default, and tables that do not exist by default, are commented out.
# Read from $AGENT_CONFIG, else ./agent.toml, else /etc/agent/agent.toml; the shipped unit reads only the last one.
# AGENT_DB and AGENT_BIND override agent.db and api.bind. `agentctl config check` checks it.
"""

OPTIONAL = ("service", "datastore", "host", "maintenance", "containers", "callbacks")
"""Tables that do not exist by default."""

EXAMPLE_NAMES = {
    "applications": "shop",
    "services": "web",
    "processes": "worker",
    "caches": "sessions",
    "external_actions": "vacuum.full",
    "windows": "night",
}
PLACES = {"db": "agent.db", "node": "the host's name"}
"""Defaults that depend on the host, as the file shows them."""


def document() -> str:
    """The whole file; `parse` returns the default settings for it."""
    sections = [HEAD]
    for name, section in config.TABLES.items():
        sections.append("\n".join(_section(f"[{name}]", section, shown=name not in OPTIONAL)))
        for option in fields(section):
            if inner := option.metadata.get("section"):
                named = f'."{option.metadata["name"]}"' if "name" in option.metadata else ""
                sections.append("\n".join(_section(f"[{name}.{option.name}{named}]", inner, shown=False)))
    for name, section in config.NAMED_TABLES.items():
        sections.append("\n".join(_section(f'[{name}."{EXAMPLE_NAMES[name]}"]', section, shown=False)))
    return "\n\n".join(sections) + "\n"


def _section(header: str, section: type[Any], *, shown: bool) -> Iterator[str]:
    yield f"# {(section.__doc__ or '').strip()}"
    yield header if shown else f"#{header}"
    for option in [each for each in fields(section) if "section" not in each.metadata]:
        yield f"# {option.metadata['help']}"
        yield _line(option, shown)


def _line(option: "Field[Any]", shown: bool) -> str:
    if option.name in PLACES:
        return f"#{option.name} = {_toml(PLACES[option.name])}"
    default = _default(option)
    if default in (None, "", (), {}) and option.metadata["example"]:
        return f"#{option.name} = {option.metadata['example']}"
    return f"{'' if shown else '#'}{option.name} = {_toml(default)}"


def _default(option: "Field[Any]") -> Any:
    if option.default_factory is not MISSING:
        return option.default_factory()
    return None if option.default is MISSING else option.default


def _toml(value: Any) -> str:
    # Strings, numbers, booleans and flat lists are the same in JSON and TOML.
    return json.dumps(list(value) if isinstance(value, tuple) else value, default=_text, ensure_ascii=False)


def _text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} has no form in the file")
