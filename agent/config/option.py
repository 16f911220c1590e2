"""An option stands once: its default, its check and its help, beside its name and type."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, field, fields
from typing import Any, TypeVar

from agent import checks
from agent.checks import Wrong

S = TypeVar("S")


def option(default: Any, check: Callable[[Any], Any], help: str, example: str = "") -> Any:
    """An option of the file. `default` may be a function of nothing; `check` returns the value or raises `Wrong`.

    `example` is what the documented file shows for an option that is not set by default.
    """
    metadata = {"check": check, "help": help, "example": example}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def required(check: Callable[[Any], Any], help: str, example: str) -> Any:
    """An option without which its table means nothing."""
    return field(metadata={"check": check, "help": help, "example": example})


def subtable(section: type[Any]) -> Any:
    """A table inside a table, whose presence means something."""
    metadata = {"check": lambda value: options(section, value), "section": section}
    return field(default=None, metadata=metadata)


def subtables(section: type[Any], example: str) -> Any:
    """Tables inside a table with names of the operator's own; `example` is a name for the documented file."""

    metadata = {"check": lambda value: _tables(section, value), "section": section, "name": example}
    return field(default_factory=dict, metadata=metadata)


def table(section: type[S], content: Any, name: str) -> S:
    """What a table of the file says. Raises `Wrong`, naming the option from `name` on."""
    with checks.inside(name):
        return options(section, content)


def named_tables(section: type[S], content: Any, name: str) -> dict[str, S]:
    """The same for a table of tables with names of the operator's own."""
    with checks.inside(name):
        return _tables(section, content)


def _tables(section: type[S], content: Any) -> dict[str, S]:
    if not isinstance(content, Mapping):
        raise Wrong("a table for each name", content)
    return {key: table(section, value, checks.name(key)) for key, value in content.items()}


def options(section: type[S], content: Any) -> S:
    """The options of one table, checked. Raises `Wrong`."""
    if not isinstance(content, Mapping):
        raise Wrong("a table", content)
    known_options = {each.name: each for each in fields(section)}  # type: ignore[arg-type]
    for key, value in content.items():
        if key not in known_options:
            raise Wrong(known(known_options), value, at=key, unknown=True)
    for each in known_options.values():
        if each.name not in content and not _has_default(each):
            raise Wrong(f"a value, such as {each.metadata['example']}", checks.NOTHING, at=each.name)
    return section(**{key: _checked(known_options[key], value) for key, value in content.items()})


def known(names: Mapping[str, Any]) -> str:
    """What is expected where a name is none of these."""
    return "one of " + ", ".join(sorted(names))


def _checked(option: "Field[Any]", value: Any) -> Any:
    with checks.inside(option.name):
        return option.metadata["check"](value)


def _has_default(option: "Field[Any]") -> bool:
    return option.default is not MISSING or option.default_factory is not MISSING
