"""Which kinds wait in the queue while maintenance mode is on, and why."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from agent import clock
from agent.config import Settings
from agent.hosts.maintenance import MaintenanceFlag
from agent.kinds.registry import Registry
from agent.models import State


class Holds:
    """The kinds that `maintenance.holds` names, held as long as the flag is there. Used from any thread."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        globs = settings.maintenance.holds if settings.maintenance else ()
        self._flag = MaintenanceFlag.of(settings)
        self._kinds = tuple(
            kind.name for kind in registry if kind.holdable and any(fnmatchcase(kind.name, glob) for glob in globs)
        )

    def kinds(self) -> Sequence[str]:
        """Those that are held now."""
        return self._kinds if self._kinds and self._flag.is_there() else ()

    def reason(self, kind: str, state: State, not_before: int | None = None) -> str | None:
        """Why an action of that kind in that state waits, for people; None where it is not held.

        `not_before` is in microseconds since the epoch.
        """
        if state is not State.NEW:
            return None
        if not_before is not None and not_before > clock.now():
            return f"not before {clock.rfc3339(not_before)}"
        if kind not in self._kinds:
            return None
        try:
            mark = self._flag.read()
        except OSError as error:
            return f"it cannot be told whether maintenance mode is on: {self._flag.path}: {error.strerror}"
        return None if mark is None else f"maintenance mode is on since {mark.since}"

    def tag(self) -> str:
        """Another text whenever maintenance mode was entered or left."""
        try:
            mark = self._flag.read() if self._kinds else None
        except OSError:
            return "unreadable"
        return "" if mark is None else str(mark.since)
