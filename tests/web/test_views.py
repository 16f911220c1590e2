"""A view shows one moment of the queue, whatever happens while it is made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agent import config, create_app
from agent.store import Store
from agent.web import rows
from tests.store.scenes import finish, schedule


def test_action_that_ends_meanwhile_is_shown_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = create_app(config.parse({"agent": {"db": str(tmp_path / "agent.db")}}))
    store: Store = app.extensions["agent"].store
    schedule(store, "replicante.test.success")
    ended: list[str] = []
    real = rows.finished

    def finished(*args: Any) -> list[rows.Row]:
        with ThreadPoolExecutor(1) as executor:
            ended.append(executor.submit(finish, store).result())
        return real(*args)

    monkeypatch.setattr(rows, "finished", finished)
    page = app.test_client().get("/ui/", headers={"Host": "localhost"}).text
    assert len(ended) == 1 and page.count('id="a1"') == 1, page
    store.close()
