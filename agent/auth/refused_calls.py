"""Counts refused calls by status and caller until the counts are stored in the audit trail."""

import threading
from collections import Counter

MOST = 100
"""Maximum callers with their own count between two calls of `take`; further callers share one count."""
OTHERS = "others"


class RefusedCalls:
    """Counts refused calls by status and caller. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[int, str]] = Counter()

    def count(self, status: int, caller: str) -> None:
        """Count one refused call. `caller`: its e-mail, or its address if the e-mail is unknown."""
        with self._lock:
            key = status, caller
            if key not in self._counts and len(self._counts) >= MOST:
                key = status, OTHERS
            self._counts[key] += 1

    def take(self) -> list[dict[str, int | str]]:
        """Return the counts since the last call, the highest first, and reset them."""
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
