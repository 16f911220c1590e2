"""The interface of a cache: clears it and reports the amount freed."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from agent.config import CacheSettings
from agent.util.stop import Stop


@dataclass(frozen=True, slots=True)
class Cleared:
    """Result of one call: `freed` maps units, such as bytes, to amounts.

    `problem` says why something is left. `unfinished`: another call is necessary.
    """

    freed: dict[str, int] = field(default_factory=dict)
    problem: str | None = None
    unfinished: bool = False


class CacheFailed(Exception):
    """The cache was not cleared; the message is one sentence without secrets."""


class Cache(ABC):
    """One cache. A new kind of cache is a subclass in its own module, registered in `KINDS`."""

    def __init__(self, settings: CacheSettings) -> None:
        self.settings = settings

    @abstractmethod
    def clear(self, stop: Stop) -> Cleared:
        """Remove the content. No client gets any of it after the return.

        A call is short and ends when `stop` is requested; the caller repeats it while the result is `unfinished`.
        Raises `CacheFailed` if nothing was cleared, or if that is not known.
        """
