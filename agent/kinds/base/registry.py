"""The registry of the node's kinds. For each kind that is not offered it keeps the reason."""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType

from agent import kinds
from agent.auth import trusted_file
from agent.auth.trusted_file import Untrusted
from agent.config import Settings
from agent.config.mistakes import Mistake
from agent.errors import ActionNotAvailable, ConfigError
from agent.kinds.base.kind import Kind, NotOffered, Unsupported

LONGEST_NAME = 200
"""Maximum characters of a requested kind's name that an answer repeats or compares."""


class Registry:
    """Kinds by name."""

    def __init__(self) -> None:
        self.offered: dict[str, Kind] = {}
        self.missing: dict[str, str] = {}
        self.unsupported: set[str] = set()
        """The kinds of `missing` that the datastore of this node does not support."""
        self.classes: dict[str, type[Kind]] = {}
        """All kinds by name, offered or not."""

    def add(self, kind: Kind) -> None:
        """Add a kind. Raises `ConfigError` for a second kind of the same name: one of the two would never run."""
        if other := self.offered.get(kind.name):
            raise ConfigError(
                f"the kind {kind.name} is defined twice, by {type(other).__module__} and {type(kind).__module__}"
            )
        self.offered[kind.name] = kind

    def get(self, name: str) -> Kind:
        """The kind of this name. Raises `ActionNotAvailable` with what to set or install, or the closest names."""
        try:
            return self.offered[name]
        except KeyError:
            raise ActionNotAvailable(self.why_not(name)) from None

    def __iter__(self) -> Iterator[Kind]:
        return iter(sorted(self.offered.values(), key=lambda kind: kind.name))

    def why_not(self, name: str, shown: Callable[[str], str] = str) -> str:
        """Why no kind of this name is offered; `shown` gives the name by which the caller knows one of the kinds."""
        missing = {shown(own): reason for own, reason in self.missing.items()}
        if reason := missing.get(name):
            return f"{name} is not available on this node: {reason}"
        # Imported here: only needed for an unknown name.
        from difflib import get_close_matches

        beginning = name[:LONGEST_NAME]
        close = get_close_matches(beginning, [shown(own) for own in self.offered], n=3, cutoff=0.4)
        hint = f"the closest are {', '.join(close)}" if close else "GET available lists the kinds"
        return f"no kind is called {beginning!r}; {hint}"


def discover(settings: Settings) -> Registry:
    """A registry of all kinds of the package and of the modules of `agent.kinds`. Raises `ConfigError`."""
    registry = Registry()
    for module in _modules(settings):
        for cls in kinds_of(module):
            registry.classes[cls.name] = cls
            try:
                for kind in cls.offered(settings):
                    registry.add(kind)
            except NotOffered as reason:
                registry.missing[cls.name] = str(reason)
                if isinstance(reason, Unsupported):
                    registry.unsupported.add(cls.name)
    if settings.maintenance:
        _refuse_unmatched_globs(registry, settings.maintenance.holds)
    return registry


def _refuse_unmatched_globs(registry: Registry, globs: Sequence[str]) -> None:
    """Raises `ConfigError` for a glob of `maintenance.holds` without a kind: the intended kind would not be held."""
    known = (*registry.offered, *registry.missing)
    unmatched = [glob for glob in globs if not any(fnmatchcase(name, glob) for name in known)]
    if unmatched:
        raise ConfigError(
            *(str(Mistake("kinds, or globs of them", each, at="maintenance.holds")) for each in unmatched)
        )


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
    """Append `agent.kinds_path` to the import path; other folders have precedence. Raises `ConfigError`."""
    try:
        trusted_file.check_roots_folder(folder)
    except Untrusted as error:
        raise ConfigError(f"agent.kinds_path: {error}") from None
    except OSError as error:
        raise ConfigError(f"agent.kinds_path: {error.filename}: {error.strerror}") from None
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        # The folder may have been created after the import system cached its absence.
        importlib.invalidate_caches()


def own_modules() -> Iterator[ModuleType]:
    """The modules of the package `agent.kinds`."""
    for found in pkgutil.walk_packages(kinds.__path__, f"{kinds.__name__}."):
        yield importlib.import_module(found.name)


def kinds_of(module: ModuleType) -> Iterator[type[Kind]]:
    """The kinds that the module defines: imported classes and bases without a `name` are excluded."""
    for cls in vars(module).values():
        if (
            isinstance(cls, type)
            and issubclass(cls, Kind)
            and cls.__module__ == module.__name__
            and "name" in vars(cls)
        ):
            yield cls
