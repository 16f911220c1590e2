"""Report of a resync's job to the agent: a small file, written by the job and read by the steps of the action."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from agent.models import Json
from agent.util import atomic_files

RETRY = 1.0
"""Seconds between attempts to write the last report to a full disk."""


@dataclass(frozen=True)
class Report:
    """The present phase, its progress and all phases so far; at the end also the result or the error."""

    phase: str = ""
    phases: list[str] = field(default_factory=list)
    progress: dict[str, Any] | None = None
    result: Json = None
    error: str | None = None

    @classmethod
    def read(cls, path: Path) -> Report:
        """The newest report. Empty if there is none yet, or if a power cut broke it."""
        try:
            document = json.loads(atomic_files.read(path) or b"{}")
        except ValueError:
            return cls()
        return cls.of(document)

    @classmethod
    def of(cls, document: Json) -> Report:
        if not isinstance(document, dict):
            return cls()
        return cls(**{each.name: document[each.name] for each in fields(cls) if each.name in document})

    def write(self, path: Path) -> None:
        """Replace the previous report. A full disk keeps the old one and does not fail the resync."""
        with suppress(OSError):
            atomic_files.replace(path, self._encoded(), durable=False)

    def write_end(self, path: Path) -> None:
        """Write the last report durably, with retries until the disk has room: the job counts as running until then."""
        while path.parent.exists():
            with suppress(OSError):
                return atomic_files.replace(path, self._encoded())
            time.sleep(RETRY)

    def state(self) -> dict[str, Any]:
        """The payload of the action while the job runs; empty before the first phase."""
        state: dict[str, Any] = {"phase": self.phase, "phases": self.phases} if self.phase else {}
        return state if self.progress is None else state | {"progress": self.progress}

    def _encoded(self) -> bytes:
        return json.dumps(asdict(self)).encode()
