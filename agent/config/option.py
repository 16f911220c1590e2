"""Declares one option: name, type, default, check and help."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from typing import Any, TypeVar

from agent.config import validators
from agent.config.mistakes import NOTHING, Mistake, collected, inside

S = TypeVar("S")


def option(default: Any, check: Callable[[Any], Any], help: str, example: str = "") -> Any:
    """An option of the file. `check` returns the value or raises `Mistake`.

    `default`: a value, or a function that returns it. `example`: the documented file's value for an unset default.
    """
    metadata = {"check": check, "help": help, "example": example}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def required(check: Callable[[Any], Any], help: str, example: str) -> Any:
    """An option without default: its table is invalid without it."""
    return field(metadata={"check": check, "help": help, "example": example})


def subtable(section: type[Any]) -> Any:
    """An optional table inside a table; None if it is missing."""
    metadata = {"check": lambda value: options(section, value), "section": section}
    return field(default=None, metadata=metadata)


def subtables(section: type[Any], example: str) -> Any:
    """Tables inside a table, named by the operator; `example`: a name for the documented file."""

    metadata = {"check": lambda value: tables_by_name(section, value), "section": section, "name": example}
    return field(default_factory=dict, metadata=metadata)


def tables_by_name(
    section: type[S],
    content: Any,
    name: Callable[[str], str] = validators.name,
    expected: str = "a table for each name",
) -> dict[str, S]:
    """The tables of `content`, checked, by names that `name` checks. Raises `Mistakes`."""
    if not isinstance(content, Mapping):
        raise Mistake(expected, content)
    found: dict[str, S] = {}
    with collected() as collect:
        for key, value in content.items():
            with collect(""), inside(name(key)):
                found[key] = options(section, value)
    return found


def options(section: type[S], content: Any) -> S:
    """The options of one table, checked. Raises `Mistakes`: of single options, else of their combination."""
    if not isinstance(content, Mapping):
        raise Mistake("a table", content)
    declared = {each.name: each for each in fields(section)}  # type: ignore[arg-type]
    found: dict[str, Any] = {}
    with collected() as collect:
        for key, value in content.items():
            with collect(key):
                found[key] = _check_of(key, declared, value)(value)
        for name, each in declared.items():
            if name not in content and not _has_default(each):
                with collect(name):
                    raise Mistake(f"a value, such as {each.metadata['example']}", NOTHING)
    return section(**found)


def walk(value: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every option of these settings, also of subtables: its dotted name, its check and its value."""
    if isinstance(value, Mapping):
        inner = [(key, None, each) for key, each in value.items()]
    else:
        inner = [(each.name, each.metadata.get("check"), getattr(value, each.name)) for each in fields(value)]
    for key, check, each in inner:
        at = f"{name}.{key}" if name else key
        is_table = isinstance(each, Mapping) and all(map(is_dataclass, each.values()))
        if is_table or is_dataclass(each):
            yield from walk(each, at)
        else:
            yield at, check, each


def known(names: Iterable[str]) -> str:
    """The expectation that a mistake shows for a name that is none of these."""
    return "one of " + ", ".join(sorted(names))


def _check_of(name: str, declared: "Mapping[str, Field[Any]]", value: Any) -> Callable[[Any], Any]:
    if name not in declared:
        raise Mistake(known(declared), value, unknown=True)
    check: Callable[[Any], Any] = declared[name].metadata["check"]
    return check


def _has_default(option: "Field[Any]") -> bool:
    return option.default is not MISSING or option.default_factory is not MISSING
