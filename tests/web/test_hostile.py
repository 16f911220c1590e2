"""Hostile text on the page: no script runs, and no text leaves its box."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.trust.guarded import DBA_TOKEN, bearer
from tests.web.browser import visiting
from tests.web.people import Node

MARK = "window.marked=1"
CORPUS = (
    f"<script>{MARK}</script>",
    f'"><img src=x onerror={MARK}>',
    f"'><svg/onload={MARK}>",
    f"</textarea></title></style><script>{MARK}</script>",
    f'<a href="javascript:{MARK}">x</a>',
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&#60;&amp;",
    "\u202eevil\u2066\u2069\u200f",
    "\x1b[31mred\x1b]0;title\x07\x9b2J",
    "\x00\x08\x7f\x85\u2028\u2029",
    "\ud800 half a pair",
    "w" * 5_000,
    "n\n" * 2_000,
    "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f" * 50,
)
LONG = "<i>1 MB</i>" + "m" * (900 * 1024)


@pytest.fixture(scope="module")
def actions(node: Node) -> list[str]:
    """An action for each text, with the text wherever a caller can put one."""
    found = []
    for text in CORPUS:
        args = {"title": "x", "tables": [text], "options": {"<b>" + text[:200]: text}}
        # A header accepts only Latin-1 without control characters.
        reason = "".join(each for each in text if each.isprintable() and ord(each) < 256)[:255]
        headers = bearer(DBA_TOKEN) | {"Action-Reason": reason}
        found.append(node.schedule("tests.form", args, headers=headers))
    found.append(node.schedule("tests.form", {"title": "x", "options": {"long": LONG}}))
    printed = "\n".join(each for each in CORPUS if "\ud800" not in each)
    with node.copying(line=printed) as (action_id, _):
        found.append(action_id)
    found.append(node.schedule("tests.drop", {"name": f'"><script>{MARK}</script>'}))
    node.cancel(found[-1])
    for each in found[:-1]:
        node.await_final(each, timeout=30)
    return found


def test_hostile_text_runs_no_script_and_does_not_overflow(browser: Browser, node: Node, actions: list[str]) -> None:
    with visiting(browser, node, viewport={"width": 600, "height": 800}) as visit:
        visit.sign_in(DBA_TOKEN)
        for path in ("/ui/", "/ui/finished", *(f"/ui/actions/{each}" for each in actions)):
            page = visit.go(path)
            expect(page.get_by_role("heading", level=1)).to_have_count(1)
            assert unharmed(page), path
            assert page.evaluate("document.body.innerText.length") < 200_000, path


def test_form_keeps_hostile_input_without_running_it(browser: Browser, node: Node) -> None:
    with visiting(browser, node) as visit:
        visit.sign_in(DBA_TOKEN)
        page = visit.go("/ui/ask/tests.form")
        for text in [each for each in CORPUS if each.isprintable() and len(each) < 200]:
            page.get_by_label("title").fill(text)
            page.get_by_label("options").fill(text)
            page.get_by_role("button", name="Show the plan").click()
            expect(page.get_by_label("options")).to_have_attribute("aria-invalid", "true")
            expect(page.get_by_label("options")).to_have_value(text)
            expect(page.get_by_label("title")).to_have_value(text)
            assert unharmed(page), text
            page.get_by_label("options").fill("")
        visit.complaints[:] = [each for each in visit.complaints if "status of 4" not in each]


def test_form_of_again_keeps_hostile_arguments_without_running_them(
    browser: Browser, node: Node, actions: list[str]
) -> None:
    with visiting(browser, node) as visit:
        visit.sign_in(DBA_TOKEN)
        page = visit.go(f"/ui/ask/tests.form?again={actions[3]}")
        expect(page.get_by_label("tables")).to_have_value(CORPUS[3])
        assert json.loads(page.get_by_label("options").input_value()) == {"<b>" + CORPUS[3]: CORPUS[3]}
        assert unharmed(page)


def test_hostile_address_runs_no_script(browser: Browser, node: Node) -> None:
    with visiting(browser, node) as visit:
        visit.sign_in(DBA_TOKEN)
        for path in (
            f"/ui/finished?kind=%22%3E%3Cscript%3E{MARK}%3C/script%3E",
            f"/ui/ask/%22%3E%3Cscript%3E{MARK}%3C%2Fscript%3E",
            f"/ui/%3Cscript%3E{MARK}%3C/script%3E",
            "/ui/finished?before=%2e%2e&state=%00",
            "/ui/actions/999999999999999999999999",
            "/ui/finished?kind=%ff%fe",
        ):
            page = visit.go(path)
            assert unharmed(page), path
        visit.complaints[:] = [each for each in visit.complaints if "status of 4" not in each]


def unharmed(page: Page) -> bool:
    """Whether no script ran, no foreign element exists, and the page is not wider than its window."""
    found: bool = page.evaluate(
        "window.marked === undefined && document.scripts.length === 1"
        " && !document.querySelector('img, iframe, object, i, a[href^=javascript]')"
        " && !document.querySelector('main b:not(.measure b):not(li b)')"
        " && document.documentElement.scrollWidth <= innerWidth"
    )
    return found
