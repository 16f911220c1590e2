"""An agent with users of different permissions, and actions that last until a test releases them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.agent_process import FINAL
from tests.trust.guarded import DBA_TOKEN, Guarded, bearer

BOSS, BOSS_TOKEN = "boss@example.com", "the-token-of-the-boss-0123456789"


class Gate:
    """The files that a `tests.copy` waits for before the next stage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def open(self, *stages: int) -> None:
        for each in stages or (1, 2, 3):
            (self.folder / str(each)).touch()


class Node(Guarded):
    """Called with the token of the DBA."""

    token = DBA_TOKEN

    def gate(self) -> Gate:
        return Gate(self.directory / f"gate-{len(list(self.directory.glob('gate-*')))}")

    @contextmanager
    def copying(self, reason: str = "OPS-17", line: str = "copied") -> Iterator[tuple[str, Gate]]:
        """An action that has begun and is in its first stage; it ends with the block."""
        gate = self.gate()
        action_id = self.schedule(
            "tests.copy",
            {"gate": str(gate.folder), "line": line},
            headers=bearer(DBA_TOKEN) | {"Action-Reason": reason},
        )
        try:
            self.await_state(action_id, "RUNNING")
            yield action_id, gate
        finally:
            gate.open()
            self.await_state(action_id, *FINAL, timeout=30)

    def newest(self) -> Any:
        """The newest action, as in `list`."""
        return self.get("/api/unstable/actions/list?limit=1").json["items"][0]

    def newest_id(self) -> str | None:
        """The id of the newest action."""
        items = self.get("/api/unstable/actions/list?limit=1").json["items"]
        return str(items[0]["id"]) if items else None
