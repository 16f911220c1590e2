"""The checks of `agentctl config check`: all mistakes at once, names that match nothing, kinds not available here."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from agent.auth import tokens
from agent.config import Settings
from agent.errors import ConfigError
from agent.kinds.base.registry import Registry, discover
from agent.log.lines import one_line
from agent.server import startup_checks


def of_the_host(settings: Settings, file: Path | None) -> Iterator[str | Registry]:
    """The mistakes found with the kinds, files and users of this host; also the registry, if it can be built."""
    try:
        yield discover(settings)
    except ConfigError as error:
        yield from error.mistakes
    for each in startup_checks.mistakes(settings, file):
        yield str(each)


def warnings(settings: Settings, registry: Registry) -> Iterator[str]:
    """Settings that are valid but probably wrong, and configured kinds that this host cannot run."""
    known = [*registry.offered, *registry.missing]
    for kind in settings.actions.timeouts:
        if kind not in known:
            yield f"actions.timeouts: no kind is called {kind}{_closest(kind, known)}: this time limits nothing"
    for option, glob, effect in _globs(settings):
        yield from (f"{option}: {each}: it {effect} nothing" for each in unmatched([glob], registry))
    for reason, kinds in sorted(_missing_here(registry).items()):
        yield f"{', '.join(kinds)} {'is' if len(kinds) == 1 else 'are'} not offered here: {reason}"


def unmatched(globs: Sequence[str], registry: Registry) -> Iterator[str]:
    """A warning for each glob that matches no kind."""
    known = [*registry.offered, *registry.missing]
    for glob in globs:
        if not any(fnmatchcase(kind, glob) for kind in known):
            yield f"no kind matches {glob}{_closest(glob, known)}"


def _missing_here(registry: Registry) -> dict[str, list[str]]:
    """By reason, the configured kinds that are not offered because something is missing on this host."""
    found: dict[str, list[str]] = {}
    for kind, reason in sorted(registry.missing.items()):
        if not reason.startswith("set ") and kind not in registry.unsupported:
            found.setdefault(reason, []).append(kind)
    return found


def _globs(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Each glob of kinds, with its option and its effect on matching kinds."""
    for glob in settings.actions.approval:
        yield "actions.approval", glob, "holds"
    for name, window in settings.windows.items():
        for glob in window.kinds:
            yield f"windows.{name}.kinds", glob, "holds"
    for name, glob in _permitted(settings):
        yield f"{settings.api.tokens}: {name}", glob, "permits"


def _permitted(settings: Settings) -> Iterator[tuple[str, str]]:
    """The globs of each identity; none if the tokens file is invalid."""
    if settings.api.tokens is None:
        return
    try:
        found, _ = tokens.read(settings.api.tokens, certificates=settings.api.certified)
    except ConfigError:
        return
    everyone: Mapping[str, Any] = {**found.by_email, **{f"unix.{name}": each for name, each in found.unix.items()}}
    for name, identity in everyone.items():
        for glob in identity.globs:
            yield name, glob


def _closest(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; the closest is {close[0]}" if close else ""


def line(text: str) -> str:
    """A finding as one line."""
    return one_line(text)
