"""What the job of a resync reports to the agent: a small file, written by the job and read by the steps."""

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
"""Seconds between tries to write the end to a full disk."""


@dataclass(frozen=True)
class Report:
    """The present phase, the phases so far, and the progress of the present one; at the end also how it ended."""

    phase: str = ""
    phases: list[str] = field(default_factory=list)
    progress: dict[str, Any] | None = None
    result: Json = None
    error: str | None = None

    @classmethod
    def read(cls, path: Path) -> Report:
        """The newest report; an empty one where there is none yet, or where a power cut broke it."""
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
        """Replace the report before it. On a full disk that one stays: a resync does not fail for it."""
        with suppress(OSError):
            atomic_files.replace(path, self._encoded(), durable=False)

    def write_end(self, path: Path) -> None:
        """The same, durable, and however long it takes: the job counts as running until there is room."""
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
