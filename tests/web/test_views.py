"""A view shows one consistent state of the queue, whatever changes while it is rendered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agent import config, create_app
from agent.models import State
from agent.store import Store, action_list, retention, transitions
from agent.web import rows
from agent.web.views import MOST, Rendered
from tests.store.scenes import claim, finish, schedule


def test_action_that_ends_during_the_rendering_is_shown_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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


def test_list_of_finished_actions_is_made_again_only_for_an_end_or_a_removal(tmp_path: Path) -> None:
    store = Store(tmp_path / "agent.db")
    seen = [action_list.finished_tag(store)]
    schedule(store)
    running = claim(store).action.seq
    transitions.record(store, running, {"stage": 1}, measured=True)
    assert action_list.finished_tag(store) == seen[0]
    transitions.finish(store, running, State.DONE, None, "over", claim_next=False)
    seen.append(action_list.finished_tag(store))
    schedule(store)
    assert action_list.finished_tag(store) == seen[1]
    transitions.cancel(store, schedule(store))
    seen.append(action_list.finished_tag(store))
    assert retention.prune(store, keep=1, limit=10) == 1
    seen.append(action_list.finished_tag(store))
    assert len(set(seen)) == len(seen)
    store.close()


def test_rendering_of_a_view_is_shared_by_its_viewers() -> None:
    rendered, made = Rendered(), list[str]()

    def seen(view: str, tag: str) -> str:
        def render() -> str:
            made.append(f"{view} {tag}")
            return made[-1]

        return rendered.page((view,), tag, render)

    for tag in ("1", "1", "2", "2"):
        assert seen("home", tag) == f"home {tag}"
    for number in range(MOST):
        seen(f"action {number}", "1")
    assert seen("home", "2") == "home 2"
    assert seen(f"action {MOST - 1}", "1") == f"action {MOST - 1} 1"
    assert made == ["home 1", "home 2", *(f"action {number} 1" for number in range(MOST)), "home 2"]
