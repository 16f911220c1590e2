"""A wall clock that a test sets while a process runs, by libfaketime; the monotonic clock is not affected."""

from pathlib import Path

LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
STEADY_SLEEP = Path(__file__).parent / "steady_sleep"
"""For PYTHONPATH: a `time.sleep` that avoids the call broken by the library."""


class Clock:
    """The wall clock of an agent, as an offset from the real one, set while it runs."""

    def __init__(self, directory: Path, seen_as: str | None = None) -> None:
        """The offset is a file in `directory`, which the agent may see under another path."""
        self.path = directory / "offset"
        self.seen_as = seen_as or str(self.path)
        self.set("+0")

    def set(self, offset: str) -> None:
        """Set the offset, such as `-1d`. A concurrent reader sees the old or the new one."""
        draft = self.path.with_suffix(".new")
        draft.write_text(f"{offset}\n")
        draft.rename(self.path)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": LIBRARY,
            "FAKETIME_TIMESTAMP_FILE": self.seen_as,
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
