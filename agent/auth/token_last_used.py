"""Records the last use of each token in a file beside the database, exact to a minute: enough to find unused tokens."""

import json
import threading
from contextlib import suppress
from pathlib import Path

from agent import clock
from agent.util import atomic_files

EVERY = 60.0
"""Seconds between two records of the same token."""


class TokenUse:
    """Records when credentials were used last. A record that cannot be written is dropped; no caller waits for it."""

    def __init__(self, db: Path) -> None:
        self._path = path_beside(db)
        self._noted: dict[str, float] = {}
        self._writing = threading.Lock()

    def note(self, key: str) -> None:
        """Record the use of a credential. `key`: the id of a token, an e-mail, or `unix.` and a user."""
        now = clock.monotonic()
        if now - self._noted.get(key, -EVERY) < EVERY:
            return
        with self._writing, suppress(OSError):
            self._noted[key] = now
            used = read(self._path) | {key: clock.rfc3339(clock.now())}
            atomic_files.replace(self._path, json.dumps(used, indent=1).encode(), durable=False)


def path_beside(db: Path) -> Path:
    """The path of the file with the last uses, beside the database."""
    return db.with_name(f"{db.name}.token-use")


def read(path: Path) -> dict[str, str | None]:
    """The last uses: RFC 3339 times by key; empty without a file. Raises `OSError`."""
    try:
        content = json.loads(atomic_files.read(path) or b"{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
