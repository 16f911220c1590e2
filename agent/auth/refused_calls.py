"""Refused calls, counted by status and caller until the audit trail takes the counts."""

import threading
from collections import Counter

MOST = 100
"""Callers that are counted one by one between two looks; further ones are counted together."""
OTHERS = "others"


class RefusedCalls:
    """Counts refused calls by status and caller. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[int, str]] = Counter()

    def count(self, status: int, caller: str) -> None:
        """Count one refused call. `who`: the e-mail of the caller, or its address if it is unknown."""
        with self._lock:
            key = status, caller
            if key not in self._counts and len(self._counts) >= MOST:
                key = status, OTHERS
            self._counts[key] += 1

    def take(self) -> list[dict[str, int | str]]:
        """The counts since the last call, the highest first, and begin again at zero."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return [
            {"status": status, "caller": caller, "count": count} for (status, caller), count in counts.most_common()
        ]

    def put_back(self, counts: list[dict[str, int | str]]) -> None:
        """Add counts that could not be stored."""
        with self._lock:
            for each in counts:
                self._counts[int(each["status"]), str(each["caller"])] += int(each["count"])
