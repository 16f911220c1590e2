"""The contract of a cache: it is cleared, and says what that has freed."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from agent.config import CacheSettings
from agent.util.stop import Stop


@dataclass(frozen=True, slots=True)
class Cleared:
    """What one call has freed, by what it is counted in.

    `problem` is why something is left, `unfinished` means that there is more to do.
    """

    freed: dict[str, int] = field(default_factory=dict)
    problem: str | None = None
    unfinished: bool = False


class CacheFailed(Exception):
    """It was not cleared; the message is one sentence without any secret."""


class Cache(ABC):
    """One cache. A cache of another make is a module of its own here: a subclass, named in `KINDS`."""

    def __init__(self, settings: CacheSettings) -> None:
        self.settings = settings

    @abstractmethod
    def clear(self, stop: Stop) -> Cleared:
        """Remove what it holds, and return once that is gone; no client gets any of it afterwards.

        One that is `unfinished` is called again for the rest: no call takes long; each ends when `stop` is requested.
        Raises `CacheFailed` where nothing was cleared, or that is not known.
        """
