"""Complete uses of the page, from the form to the end: by mouse, by keyboard alone, without scripts."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.trust.guarded import DBA, DBA_TOKEN, PINGER_TOKEN
from tests.web.browser import Visit, visiting
from tests.web.people import BOSS, BOSS_TOKEN, Gate, Node


def refusals(visit: Visit) -> None:
    """Forget the browser's messages about refused forms, which the test has seen on the page."""
    visit.complaints[:] = [each for each in visit.complaints if "status of 4" not in each]


def test_action_is_scheduled_and_watched_with_a_mouse(browser: Browser, node: Node) -> None:
    gate = node.gate()
    with visiting(browser, node) as visit:
        page = visit.sign_in(DBA_TOKEN)
        page.get_by_role("link", name="Ask").click()
        page.get_by_role("link", name="tests.copy").click()
        page.get_by_label("gate").fill(str(gate.folder))
        page.get_by_label("line").fill("copied 4,711 rows")
        page.get_by_label("Reason").fill("OPS-18")
        page.get_by_role("button", name="Show the plan").click()
        expect(page.get_by_text("copies in 3 stages")).to_be_visible()
        page.get_by_role("button", name="Schedule").click()
        watch(page, gate)
    newest = node.newest()
    assert (newest["kind"], newest["requester"], newest["user"], newest["reason"]) == (
        "tests.copy",
        "WEB",
        DBA,
        "OPS-18",
    )


def watch(page: Page, gate: Gate) -> None:
    """Watch the page of an action that copies: each stage, the output and the end appear."""
    bar = page.get_by_role("progressbar")
    expect(bar).to_have_attribute("value", "25.0")
    for measure in ("2.5 MB of 10.0 MB", "2.3 MB/s", "9 s left"):
        expect(page.get_by_text(measure)).to_be_visible()
    gate.open(1)
    expect(bar).to_have_attribute("value", "50.0")
    expect(page.get_by_role("listitem").filter(has_text="copy")).to_have_attribute("aria-current", "step")
    expect(page.get_by_role("region", name="Output")).to_contain_text("2: copied 4,711 rows")
    gate.open(2, 3)
    expect(page.get_by_role("status")).to_contain_text("tests.copy is done: copied all of it")
    expect(page.get_by_role("heading", level=1)).to_have_text("tests.copy")
    expect(page.get_by_role("table", name="Every state").get_by_role("row").nth(1)).to_contain_text("DONE")
    expect(bar).to_have_count(0)


def test_action_is_scheduled_and_watched_with_the_keyboard_alone(browser: Browser, node: Node) -> None:
    gate = node.gate()
    with visiting(browser, node) as visit:
        page = sign_in_by_keyboard(visit, DBA_TOKEN)
        reach(page, "link", "Ask")
        page.keyboard.press("Enter")
        page.wait_for_url(visit.url("/ui/ask"))
        reach(page, "link", "tests.copy")
        page.keyboard.press("Enter")
        page.get_by_label("gate").wait_for()
        reach(page, "textbox", "gate")
        page.keyboard.type(str(gate.folder))
        page.keyboard.press("Tab")
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type("copied 4,711 rows")
        reach(page, "button", "Show the plan")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=re.compile("^Plan"))).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Schedule")).to_be_focused()
        page.keyboard.press("Enter")
        watch(page, gate)


def reach(page: Page, role: str, name: str) -> None:
    """Press Tab until the element has the focus, which must be visible."""
    tab_to(page, page.get_by_role(role, name=name).first)  # type: ignore[arg-type]


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until the element has the focus, which must be visible."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if wanted.evaluate("each => each === document.activeElement"):
            assert wanted.evaluate("each => getComputedStyle(each).outlineStyle") != "none"
            return
    raise AssertionError(f"Tab does not reach {wanted}")


def test_action_is_scheduled_and_watched_without_scripts(browser: Browser, node: Node) -> None:
    gate = node.gate()
    with visiting(browser, node, java_script_enabled=False) as visit:
        page = visit.sign_in(DBA_TOKEN)
        page.get_by_role("link", name="Ask").click()
        page.get_by_role("link", name="tests.copy").click()
        page.get_by_label("gate").fill(str(gate.folder))
        page.get_by_role("button", name="Show the plan").click()
        page.get_by_role("button", name="Schedule").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("tests.copy")
        node.await_state(node.newest()["id"], "RUNNING")
        page.reload()
        expect(page.get_by_role("progressbar")).to_have_attribute("value", "25.0")
        page.locator("summary", has_text="Cancel").click()
        page.get_by_role("button", name="Cancel this action").click()
        node.await_state(node.newest()["id"], "FAILED")
        page.reload()
        expect(page.get_by_text("cancelled").first).to_be_visible()
        expect(page.locator("time").first).to_contain_text("UTC")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()


def test_running_action_is_cancelled_on_the_overview(browser: Browser, node: Node) -> None:
    with node.copying() as (action_id, _), visiting(browser, node) as visit:
        page = visit.sign_in(DBA_TOKEN)
        running = page.get_by_role("article")
        expect(running).to_contain_text("OPS-17")
        running.locator("summary").click()
        running.get_by_role("button", name="Cancel this action").click()
        page.wait_for_url(visit.url(f"/ui/actions/{action_id}"))
        expect(page.get_by_role("status")).to_contain_text("is cancelled")
    assert node.info(action_id)["action"]["outcome"] == "cancelled"


def test_destructive_action_is_confirmed_by_name_and_approved_by_another_identity(browser: Browser, node: Node) -> None:
    with visiting(browser, node) as visit:
        page = visit.sign_in(DBA_TOKEN)
        visit.go("/ui/ask/tests.drop")
        page.get_by_label("name", exact=False).first.fill("orders")
        page.get_by_role("button", name="Show the plan").click()
        expect(page.get_by_text("Discards rows: 42 rows")).to_be_visible()
        page.get_by_label("type orders").fill("order")
        page.get_by_role("button", name="Schedule").click()
        expect(page.get_by_text("This is not the name.")).to_be_visible()
        page.get_by_label("type orders").fill("orders")
        page.get_by_role("button", name="Schedule").click()
        expect(page.get_by_text("waits for the approval of another identity")).to_be_visible()
        expect(page.get_by_role("button", name="Approve")).to_have_count(0)
        refusals(visit)
    with visiting(browser, node) as visit:
        page = visit.sign_in(BOSS_TOKEN)
        page.get_by_role("button", name="Approve tests.drop").click()
        expect(page.get_by_role("status")).to_contain_text("tests.drop is done: removed orders")
        expect(page.get_by_text(BOSS).nth(1)).to_be_visible()


def test_destruction_is_confirmed_and_approved_with_the_keyboard_alone(browser: Browser, node: Node) -> None:
    with visiting(browser, node) as visit:
        page = sign_in_by_keyboard(visit, DBA_TOKEN)
        visit.go("/ui/ask/tests.drop")
        reach(page, "textbox", "name")
        page.keyboard.type("invoices")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=re.compile("^Plan"))).to_be_focused()
        reach(page, "textbox", "type invoices")
        page.keyboard.type("invoices")
        reach(page, "button", "Schedule")
        page.keyboard.press("Enter")
        expect(page.get_by_text("waits for the approval of another identity")).to_be_visible()
    with visiting(browser, node) as visit:
        page = sign_in_by_keyboard(visit, BOSS_TOKEN)
        reach(page, "button", "Approve tests.drop")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("tests.drop is done: removed invoices")


def sign_in_by_keyboard(visit: Visit, token: str) -> Page:
    page = visit.go()
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type(token)
    page.keyboard.press("Enter")
    page.wait_for_url(visit.url("/ui/"))
    return page


def test_a_running_action_is_cancelled_with_the_keyboard_alone(browser: Browser, node: Node) -> None:
    with node.copying() as (action_id, _), visiting(browser, node) as visit:
        page = sign_in_by_keyboard(visit, DBA_TOKEN)
        running = page.get_by_role("article")
        tab_to(page, running.locator("summary"))
        page.keyboard.press("Enter")
        tab_to(page, running.get_by_role("button", name="Cancel this action"))
        page.keyboard.press("Enter")
        page.wait_for_url(visit.url(f"/ui/actions/{action_id}"))
        expect(page.get_by_role("status")).to_contain_text("is cancelled")


def test_destruction_is_approved_without_scripts(browser: Browser, node: Node) -> None:
    action_id = node.schedule("tests.drop", {"name": "drafts"})
    with visiting(browser, node, java_script_enabled=False) as visit:
        page = visit.sign_in(BOSS_TOKEN)
        page.get_by_role("button", name="Approve tests.drop").click()
        page.wait_for_url(visit.url(f"/ui/actions/{action_id}"))
        node.await_final(action_id)
        page.reload()
        expect(page.get_by_role("definition").filter(has_text=BOSS)).to_be_visible()
        expect(page.get_by_text("removed drafts", exact=True)).to_be_visible()


def test_an_action_that_disrupts_is_confirmed(browser: Browser, node: Node) -> None:
    with visiting(browser, node) as visit:
        page = visit.sign_in(DBA_TOKEN)
        visit.go("/ui/ask/tests.flush")
        page.get_by_role("button", name="Show the plan").click()
        page.get_by_role("button", name="Schedule").click()
        expect(page.get_by_text("Confirm it to schedule the action.")).to_be_visible()
        page.get_by_label("I have read the plan").check()
        page.get_by_role("button", name="Schedule").click()
        expect(page.get_by_role("status")).to_contain_text("tests.flush is done")
        refusals(visit)


@pytest.mark.parametrize(("kind", "scripts"), [("tests.effect", False), ("tests.effect.harmless", True)])
def test_plan_that_destroys_is_confirmed_by_name_for_any_kind(
    browser: Browser, node: Node, kind: str, scripts: bool
) -> None:
    with visiting(browser, node, java_script_enabled=scripts) as visit:
        page = visit.sign_in(DBA_TOKEN)
        visit.go(f"/ui/ask/{kind}")
        page.get_by_label("would").select_option("destroy")
        page.get_by_role("button", name="Show the plan").click()
        page.get_by_role("button", name="Schedule").click()
        expect(page.get_by_text("This is not the name.")).to_be_visible()
        page.get_by_label(f"type {kind}").fill(kind)
        page.get_by_role("button", name="Schedule").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(kind)
        node.await_final(node.newest()["id"])
        refusals(visit)


def test_unknown_plan_is_confirmed_by_the_danger_of_its_kind(browser: Browser, node: Node) -> None:
    with visiting(browser, node) as visit:
        page = visit.sign_in(DBA_TOKEN)
        visit.go("/ui/ask/tests.effect")
        page.get_by_label("would").select_option("unknown")
        page.get_by_role("button", name="Show the plan").click()
        expect(page.get_by_role("heading", name="Plan: not known")).to_be_visible()
        page.get_by_label("I have read the plan").check()
        page.get_by_role("button", name="Schedule").click()
        expect(page.get_by_role("status")).to_contain_text("tests.effect is done")


def test_mistakes_are_shown_beside_their_fields_and_input_is_kept(browser: Browser, node: Node) -> None:
    with visiting(browser, node) as visit:
        page = visit.sign_in(DBA_TOKEN)
        visit.go("/ui/ask/tests.form")
        page.get_by_label("count").fill("99")
        page.get_by_label("options").fill("{not json")
        page.get_by_label("password").fill("a-secret-of-people")
        page.get_by_role("button", name="Show the plan").click()
        for field, message in (
            ("title", "Missing data for required field."),
            ("count", "Must be greater than or equal to 1 and less than or equal to 9."),
            ("options", "This is not JSON"),
        ):
            expect(page.get_by_label(field)).to_have_attribute("aria-invalid", "true")
            expect(page.get_by_label(field)).to_have_accessible_description(re.compile(re.escape(message)))
        expect(page.get_by_label("count")).to_have_value("99")
        expect(page.get_by_label("password")).to_have_value("a-secret-of-people")
        page.get_by_label("title").fill("x")
        page.get_by_label("count").fill("2")
        page.get_by_label("full").select_option("yes")
        page.get_by_label("tables").fill("a\nb")
        page.get_by_label("options").fill('{"depth": 1}')
        page.get_by_role("button", name="Show the plan").click()
        page.get_by_role("button", name="Schedule").click()
        expect(page.get_by_role("status")).to_contain_text("tests.form is done")
        assert "a-secret-of-people" not in page.content()
        refusals(visit)
    info = node.info(node.newest()["id"])["action"]
    assert info["args"] == {
        "title": "x", "count": 2, "full": True, "tables": ["a", "b"], "options": {"depth": 1}, "password": "********",
    }  # fmt: skip


def test_changed_plan_is_shown_again_before_scheduling(browser: Browser, node: Node) -> None:
    with visiting(browser, node) as visit:
        page = visit.sign_in(DBA_TOKEN)
        visit.go("/ui/ask/tests.form")
        page.get_by_label("title").fill("seen")
        page.get_by_role("button", name="Show the plan").click()
        page.get_by_label("count").fill("7")
        page.get_by_role("button", name="Schedule").click()
        expect(page.get_by_text("The arguments or their effect changed since the last plan.")).to_be_visible()
        expect(page.get_by_text("does it 7 times")).to_be_visible()
        page.get_by_role("button", name="Schedule").click()
        expect(page.get_by_role("status")).to_contain_text("tests.form is done")
        refusals(visit)
    assert node.info(node.newest()["id"])["action"]["args"]["count"] == 7


def test_again_fills_the_form_and_shows_the_changes(browser: Browser, node: Node) -> None:
    before = node.schedule("tests.form", {"title": "first", "count": 4, "password": "not-kept-with-it"})
    node.await_final(before)
    with visiting(browser, node) as visit:
        page = visit.sign_in(DBA_TOKEN)
        visit.go(f"/ui/actions/{before}")
        page.get_by_role("link", name="Again").click()
        expect(page.get_by_label("title")).to_have_value("first")
        expect(page.get_by_label("password")).to_have_value("")
        expect(page.get_by_text("enter it again")).to_be_visible()
        page.get_by_label("count").fill("5")
        page.get_by_role("button", name="Show the plan").click()
        expect(page.get_by_role("listitem").filter(has_text="became")).to_have_text(re.compile(r"count: 4 became 5"))


@pytest.mark.parametrize("token", [PINGER_TOKEN])
def test_only_permitted_kinds_are_shown(browser: Browser, node: Node, token: str) -> None:
    with visiting(browser, node) as visit:
        page = visit.sign_in(token)
        page.get_by_role("link", name="Ask").click()
        expect(page.get_by_role("link", name="replicante.test.ping")).to_be_visible()
        expect(page.get_by_role("link", name="tests.copy")).to_have_count(0)
        visit.go("/ui/ask/tests.copy")
        expect(page.get_by_role("heading", name="Forbidden")).to_be_visible()
        refusals(visit)


def test_the_filters_stand_in_the_address(browser: Browser, node: Node) -> None:
    node.await_final(node.schedule("replicante.test.fail", {}))
    node.await_final(node.schedule("replicante.test.success", {}))
    with visiting(browser, node) as visit:
        page = visit.sign_in(DBA_TOKEN)
        visit.go("/ui/finished")
        page.get_by_label("Kind").fill("replicante.test.*")
        page.get_by_label("Outcome").select_option("not done")
        page.get_by_role("button", name="Filter").click()
        page.wait_for_url(re.compile(r"kind=replicante\.test\.\*"))
        outcomes = page.locator("tbody .status").all_inner_texts()
        assert outcomes and "done" not in outcomes
        page.get_by_label("Since (UTC)").fill("yesterday")
        page.get_by_role("button", name="Filter").click()
        expect(page.get_by_label("Since (UTC)")).to_have_accessible_description(re.compile("such as 2026-01-31"))
