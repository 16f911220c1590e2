"""The mistakes of a configuration, each with its path, the expected and the found value."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

NOTHING = object()
"""Stands for a value that was not given."""
UNSHOWN = object()
"""Stands for a value that may hold a secret, and is not repeated."""


class Mistakes(ValueError):
    """The mistakes of a table, a list or an option; at least one."""

    @property
    def each(self) -> "tuple[Mistake, ...]":
        """The single mistakes."""
        return self.args

    def inside(self, name: str) -> "Mistakes":
        """The same mistakes, each with the table or list `name` in front of its path."""
        return Mistakes(*(each.inside(name) for each in self.each))


class Mistake(Mistakes):
    """One mistake: an invalid value or an unknown option."""

    def __init__(self, expected: str, found: Any, *, at: str = "", unknown: bool = False) -> None:
        super().__init__(expected)
        self.expected, self.found, self.at, self.unknown = expected, found, at, unknown

    @property
    def each(self) -> "tuple[Mistake, ...]":
        return (self,)

    def inside(self, name: str) -> "Mistake":
        at = ".".join(filter(None, (name, self.at)))
        return Mistake(self.expected, self.found, at=at, unknown=self.unknown)

    def __str__(self) -> str:
        if self.unknown:
            return f"{self.at}: unknown option, expected {self.expected}"
        prefix = f"{self.at}: " if self.at else ""
        if self.found is UNSHOWN:
            return f"{prefix}expected {self.expected}"
        found = "nothing" if self.found is NOTHING else json.dumps(self.found, default=str)
        return f"{prefix}expected {self.expected}, got {found}"


def without_credentials(url: str) -> Any:
    """An invalid URL as a mistake shows it: `UNSHOWN` if it may have a password."""
    return UNSHOWN if "@" in url or "?" in url else url


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Put `name` (a table, list or option) in front of the path of each mistake that is raised inside."""
    try:
        yield
    except Mistakes as mistakes:
        raise mistakes.inside(name) from None


@contextmanager
def collected() -> Iterator[Callable[[str], AbstractContextManager[None]]]:
    """Yields a variant of `inside` that keeps mistakes instead of raising them. Raises all `Mistakes` at the end."""
    found: list[Mistake] = []

    @contextmanager
    def collect(name: str) -> Iterator[None]:
        try:
            yield
        except Mistakes as mistakes:
            found.extend(each.inside(name) for each in mistakes.each)

    yield collect
    if found:
        raise Mistakes(*found)
