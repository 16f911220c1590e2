"""Which kinds wait in the queue while maintenance mode is on, and why."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

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

    def reason(self, kind: str, state: State) -> str | None:
        """Why an action of that kind in that state waits, for people; None where it is not held."""
        if state is not State.NEW or kind not in self._kinds:
            return None
        try:
            mark = self._flag.read()
        except OSError as error:
            return f"it cannot be told whether maintenance mode is on: {self._flag.path}: {error.strerror}"
        return None if mark is None else f"maintenance mode is on since {mark.since}"
