"""Why actions wait in the queue: maintenance mode, closed windows, a missing approval, or their own time."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Protocol

from agent import clock
from agent.config import Settings, Window
from agent.kinds.base.registry import Registry
from agent.maintenance import MaintenanceFlag
from agent.models import State


class HoldInputs(Protocol):
    """The members of an action that a hold depends on. `not_before` is in microseconds since the epoch."""

    @property
    def kind(self) -> str: ...
    @property
    def state(self) -> State: ...
    @property
    def not_before(self) -> int | None: ...
    @property
    def needs_approval(self) -> bool: ...
    @property
    def approved_by(self) -> str | None: ...


class Holds:
    """The kinds that are held now, and the reasons. Used from any thread."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        globs = settings.maintenance.holds if settings.maintenance else ()
        self._flag = MaintenanceFlag.of(settings)
        held = tuple(kind.name for kind in registry if kind.can_be_held)
        self._kinds = tuple(kind for kind in held if _is_one_of(kind, globs))
        self._windows = {
            kind: {name: window for name, window in settings.windows.items() if _is_one_of(kind, window.kinds)}
            for kind in held
        }

    def kinds(self) -> Sequence[str]:
        """The kinds that maintenance mode holds now."""
        return self._kinds if self._kinds and self._flag.exists() else ()

    def closed(self) -> Sequence[str]:
        """The kinds whose windows are all closed now; an approved action starts nevertheless."""
        now = _local_time()
        return tuple(kind for kind, windows in self._windows.items() if _are_closed(windows, now))

    def reason(self, action: HoldInputs) -> str | None:
        """Why this action is held, for people; None if it is not."""
        if action.state is not State.NEW:
            return None
        if action.not_before is not None and action.not_before > clock.now():
            return f"not before {clock.rfc3339(action.not_before)}"
        if action.approved_by is None:
            if action.needs_approval:
                return "waits for the approval of another identity"
            if closed := self._closed_window(action.kind):
                return closed
        return self._maintenance(action.kind)

    def _closed_window(self, kind: str) -> str | None:
        windows, now = self._windows.get(kind, {}), _local_time()
        if not _are_closed(windows, now):
            return None
        name, opens = min(((name, each.next_opening(now)) for name, each in windows.items()), key=lambda each: each[1])
        at = opens.astimezone().isoformat(timespec="minutes")
        return f'the window "{name}" is closed until {at}'

    def _maintenance(self, kind: str) -> str | None:
        if kind not in self._kinds:
            return None
        try:
            mark = self._flag.read()
        except OSError as error:
            return f"cannot read the maintenance flag: {self._flag.path}: {error.strerror}"
        return None if mark is None else f"maintenance mode is on since {mark.since}"

    def tag(self) -> str:
        """A text that changes when maintenance mode begins or ends, and when a window opens or closes."""
        try:
            mark = self._flag.read() if self._kinds else None
        except OSError:
            return "unreadable"
        closed = "".join(str(int(kind in closed)) for closed in (self.closed(),) for kind in self._in_windows)
        return ("" if mark is None else str(mark.since)) + closed

    @property
    def _in_windows(self) -> Iterator[str]:
        return (kind for kind, windows in self._windows.items() if windows)


def _is_one_of(kind: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(kind, glob) for glob in globs)


def _are_closed(windows: Mapping[str, Window], now: datetime) -> bool:
    return bool(windows) and not any(each.is_open(now) for each in windows.values())


def _local_time() -> datetime:
    """The local time of the host, without a zone, for comparison with the hours of a window."""
    return datetime.fromtimestamp(clock.now() / 1_000_000, UTC).astimezone().replace(tzinfo=None)
