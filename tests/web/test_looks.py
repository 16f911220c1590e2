"""The layout of each page: no fault found by axe-core, nothing wider than the window; a screenshot of each.

The pictures are kept in the folder that AGENT_TEST_SCREENSHOTS names, else in the folder of the test run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page

from tests.trust.guarded import DBA_TOKEN
from tests.web.browser import Visit, visiting
from tests.web.people import BOSS_TOKEN, Node

WIDTHS = {"narrow": 320, "middle": 768, "wide": 1920}
THEMES = ("light", "dark")
RULES = {
    "light": {"resultTypes": ["violations"]},
    # All other checks of axe-core are the same in both themes.
    "dark": {"resultTypes": ["violations"], "runOnly": ["color-contrast"]},
}
NAMES = (
    "sign-in", "now", "finished", "action", "ended", "ask", "form", "mistakes", "plan", "not-found", "filter-mistake",
)  # fmt: skip


@pytest.fixture(scope="module")
def scene(node: Node) -> Iterator[dict[str, str]]:
    """A node in maintenance with an action of each state; the paths of its pages."""
    ended = node.schedule("tests.form", {"title": "x", "count": 2, "password": "a-password-of-people"})
    node.await_final(ended)
    node.await_final(node.schedule("replicante.test.fail", {}))
    cancelled = node.schedule("tests.drop", {"name": "customers"})
    assert node.cancel(cancelled).status == 200
    node.await_final(node.schedule("maintenance_mode", {"value": True}))
    with node.copying("OPS-77: rebuild after the disk was replaced", "\x1b[32mcopied 4,711 files\x1b[0m") as (
        running,
        _,
    ):
        node.schedule("tests.flush", {})
        waits = [node.schedule("tests.drop", {"name": "orders"})]
        later = {"Not-Before": "2037-01-01T00:00:00Z"}
        waits.append(node.schedule("replicante.test.ping", {}, headers=later))
        yield {
            "sign-in": "/ui/sign-in", "now": "/ui/", "finished": "/ui/finished", "action": f"/ui/actions/{running}",
            "ended": f"/ui/actions/{ended}", "ask": "/ui/ask", "form": "/ui/ask/tests.form",
            "mistakes": "/ui/ask/tests.form", "plan": "/ui/ask/tests.drop", "not-found": "/ui/nothing-here",
            "filter-mistake": "/ui/finished?since=yesterday",
        }  # fmt: skip
        for each in waits:
            node.cancel(each)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("AGENT_TEST_SCREENSHOTS") or tmp_path_factory.mktemp("pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("theme", THEMES)
def test_each_page_is_accessible(
    browser: Browser, node: Node, scene: dict[str, str], pictures: Path, theme: str
) -> None:
    with visiting(browser, node, color_scheme=theme, reduced_motion="reduce") as visit:
        for name in NAMES:
            open_page(visit, name, scene[name])
            for width in WIDTHS.values():
                visit.page.set_viewport_size({"width": width, "height": 900})
                assert faults(visit.page, theme) == [], (name, width)
                assert overflow(visit.page) == 0, (name, width)
            visit.page.set_viewport_size({"width": 1280, "height": 900})
            visit.page.screenshot(path=pictures / f"{name}-{theme}.png", full_page=True)
            if theme == "light":
                visit.page.set_viewport_size({"width": 360, "height": 740})
                visit.page.screenshot(path=pictures / f"{name}-phone.png", full_page=True)
        visit.complaints[:] = [each for each in visit.complaints if "status of 4" not in each]
    assert {path.stem.partition(f"-{theme}")[0] for path in pictures.glob(f"*-{theme}.png")} == set(NAMES)


def open_page(visit: Visit, name: str, path: str) -> None:
    """Open the page by the steps of a person."""
    if name == "now":
        visit.sign_in(BOSS_TOKEN)
    page = visit.go(path)
    if name == "mistakes":
        page.get_by_label("count").fill("99")
        page.get_by_role("button", name="Show the plan").click()
        page.get_by_text("see the fields below").wait_for()
    if name == "plan":
        page.get_by_label("name").fill("orders")
        page.get_by_role("button", name="Show the plan").click()
        page.get_by_text("Discards rows").wait_for()


def faults(page: Page, theme: str) -> list[str]:
    """The faults found by axe-core, with their elements."""
    if not page.evaluate("typeof window.axe === 'object'"):
        page.evaluate(AXE_SCRIPT)  # by the debugging protocol: the page's policy forbids foreign scripts
    found: Any = page.evaluate("options => axe.run(options)", RULES[theme])
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than the window."""
    found: int = page.evaluate("Math.max(0, document.documentElement.scrollWidth - innerWidth)")
    return found


def test_page_is_small_and_loads_only_own_files(browser: Browser, node: Node, scene: dict[str, str]) -> None:
    with visiting(browser, node) as visit:
        page = visit.sign_in(DBA_TOKEN)
        loaded: list[str] = page.evaluate("performance.getEntriesByType('resource').map(each => each.name)")
        assert all(each.startswith(visit.url("/ui/")) for each in loaded)
        static = [len(node.get(path).body) for path in static_files(page)]
        assert len(static) == 3
        assert sum(static) + len(page.content().encode()) <= 60_000


def static_files(page: Page) -> list[str]:
    """The paths of the style sheet, the script and the icon."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('link[rel=stylesheet], link[rel=icon], script[src]')]"
        ".map(e => new URL(e.href || e.src).pathname)"
    )
    return found
