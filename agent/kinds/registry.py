"""The kinds of this node, found in their modules; what is not offered is kept with the reason."""

import importlib
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType

from agent import kinds, trusted
from agent.checks import Wrong
from agent.config import Settings
from agent.errors import ActionNotAvailable, ConfigError
from agent.kinds.base import Kind, NotOffered
from agent.trusted import Untrusted

LONGEST_NAME = 200
"""Characters of a kind that was asked for that an answer repeats or compares."""


class Registry:
    """Kinds by name."""

    def __init__(self) -> None:
        self.offered: dict[str, Kind] = {}
        self.missing: dict[str, str] = {}
        self.classes: dict[str, type[Kind]] = {}
        """By name, offered or not."""

    def add(self, kind: Kind) -> None:
        """Raises `ConfigError` for a second kind of the same name: one of the two would never run."""
        if other := self.offered.get(kind.name):
            raise ConfigError(
                f"the kind {kind.name} is defined twice, by {type(other).__module__} and {type(kind).__module__}"
            )
        self.offered[kind.name] = kind

    def get(self, name: str) -> Kind:
        """Raises `ActionNotAvailable`, saying what is missing or which kinds are close."""
        try:
            return self.offered[name]
        except KeyError:
            raise ActionNotAvailable(self._why_not(name)) from None

    def __iter__(self) -> Iterator[Kind]:
        return iter(sorted(self.offered.values(), key=lambda kind: kind.name))

    def _why_not(self, name: str) -> str:
        if reason := self.missing.get(name):
            return f"{name} is not available on this node: {reason}"
        # Imported here: it is needed by mistakes alone.
        from difflib import get_close_matches

        shown = name[:LONGEST_NAME]
        close = get_close_matches(shown, self.offered, n=3, cutoff=0.4)
        hint = f"the closest are {', '.join(close)}" if close else "GET available lists the kinds"
        return f"no kind is called {shown!r}; {hint}"


def discover(settings: Settings) -> Registry:
    """All kinds of the package and of the modules that `agent.kinds` names. Raises `ConfigError`."""
    registry = Registry()
    for module in _modules(settings):
        for cls in kinds_of(module):
            registry.classes[cls.name] = cls
            try:
                for kind in cls.offered(settings):
                    registry.add(kind)
            except NotOffered as reason:
                registry.missing[cls.name] = str(reason)
    if settings.maintenance:
        _refuse_globs_of_nothing(registry, settings.maintenance.holds)
    return registry


def _refuse_globs_of_nothing(registry: Registry, globs: Sequence[str]) -> None:
    """Raises `ConfigError` for one that is no kind's, offered or not: what it is to hold would run."""
    known = (*registry.offered, *registry.missing)
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in known):
            raise ConfigError(str(Wrong("kinds, or globs of them", glob, at="maintenance.holds")))


def _modules(settings: Settings) -> Iterator[ModuleType]:
    yield from own_modules()
    if settings.agent.kinds_path is not None:
        _open(settings.agent.kinds_path)
    for name in settings.agent.kinds:
        try:
            yield importlib.import_module(name)
        except Exception as error:
            raise ConfigError(f"agent.kinds: cannot import {name}: {error}") from None


def _open(folder: Path) -> None:
    """Let modules be found there that are nowhere else. Raises `ConfigError`."""
    try:
        trusted.check_roots_folder(folder)
    except Untrusted as error:
        raise ConfigError(f"agent.kinds_path: {error}") from None
    except OSError as error:
        raise ConfigError(f"agent.kinds_path: {error.filename}: {error.strerror}") from None
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        # A folder that was not there at the first look may be now.
        importlib.invalidate_caches()


def own_modules() -> Iterator[ModuleType]:
    """Those of the package itself."""
    for found in pkgutil.walk_packages(kinds.__path__, f"{kinds.__name__}."):
        yield importlib.import_module(found.name)


def kinds_of(module: ModuleType) -> Iterator[type[Kind]]:
    """The classes that the module defines and names; what it imports, and bases without a name, are not kinds."""
    for cls in vars(module).values():
        if (
            isinstance(cls, type)
            and issubclass(cls, Kind)
            and cls.__module__ == module.__name__
            and "name" in vars(cls)
        ):
            yield cls
