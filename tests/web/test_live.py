"""An open page follows every change and loses no input."""

from __future__ import annotations

import re
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.agent_process import AgentProcess
from tests.trust.guarded import DBA_TOKEN, Guarded, table, write_tokens
from tests.web.browser import LOST, visiting
from tests.web.people import Node


def test_page_shows_each_change_without_a_reload(browser: Browser, open_agent: AgentProcess) -> None:
    with visiting(browser, open_agent) as visit:
        page = visit.go()
        expect(page.get_by_role("status")).to_contain_text("Nothing runs. 0 waiting.")
        running = open_agent.schedule("replicante.test.loop", {"target": 6000, "delay": 1})
        expect(page.get_by_role("status")).to_contain_text("Running: replicante.test.loop. 0 waiting.")
        expect(page).to_have_title(re.compile("Running: replicante.test.loop"))
        waiting = open_agent.schedule("replicante.test.ping", {})
        expect(page.get_by_role("status")).to_contain_text("1 waiting")
        open_agent.cancel(running)
        open_agent.await_final(waiting)
        expect(page.get_by_role("status")).to_contain_text("Nothing runs. 0 waiting.")
        row = page.get_by_role("row").filter(has_text="replicante.test.loop")
        expect(row).to_contain_text("cancelled")


def test_focus_selection_and_input_survive_each_change(browser: Browser, open_agent: AgentProcess) -> None:
    first = open_agent.schedule("replicante.test.ping", {})
    open_agent.await_final(first)
    with visiting(browser, open_agent) as visit:
        page = visit.go("/ui/finished")
        page.get_by_label("User").fill("half an e-mail")
        page.locator("tbody a").first.evaluate("each => getSelection().selectAllChildren(each)")
        page.get_by_label("User").focus()
        page.get_by_label("User").evaluate("each => each.setSelectionRange(5, 7)")
        link = page.locator("tbody a").first.element_handle()
        open_agent.await_final(open_agent.schedule("replicante.test.fail", {}))
        expect(page.get_by_role("row").nth(1)).to_contain_text("replicante.test.fail")
        expect(page.get_by_label("User")).to_be_focused()
        expect(page.get_by_label("User")).to_have_value("half an e-mail")
        assert page.get_by_label("User").evaluate("each => [each.selectionStart, each.selectionEnd]") == [5, 7]
        assert link is not None and link.evaluate("each => each.isConnected"), "the row is the same element"
        link.evaluate("each => { each.focus(); getSelection().selectAllChildren(each); }")
        open_agent.await_final(open_agent.schedule("replicante.test.success", {}))
        expect(page.get_by_role("row").nth(1)).to_contain_text("replicante.test.success")
        assert link.evaluate("each => each === document.activeElement")
        assert page.evaluate("getSelection().toString()") == "replicante.test.ping"


def test_a_confirmation_stays_open_while_the_page_changes(browser: Browser, node: Node) -> None:
    with node.copying() as (action_id, gate), visiting(browser, node) as visit:
        visit.sign_in(DBA_TOKEN)
        page = visit.go(f"/ui/actions/{action_id}")
        page.locator("summary", has_text="Cancel").click()
        page.get_by_role("button", name="Cancel this action").focus()
        gate.open(1)
        expect(page.get_by_role("progressbar")).to_have_attribute("value", "50.0")
        expect(page.get_by_role("button", name="Cancel this action")).to_be_focused()


def test_times_are_in_the_viewers_time_zone_with_utc_as_title(browser: Browser, open_agent: AgentProcess) -> None:
    action_id = open_agent.schedule("replicante.test.success", {})
    finished = open_agent.await_final(action_id)["action"]["finished_ts"]
    with visiting(browser, open_agent, timezone_id="Asia/Kathmandu", locale="en-GB") as visit:
        page = visit.go(f"/ui/actions/{action_id}")
        time = page.locator(f'time[datetime="{finished}"]').first
        expect(time).to_have_attribute("title", finished.replace("T", " ").replace("Z", " UTC"))
        wanted = page.evaluate("stamp => new Date(stamp).toLocaleTimeString('en-GB')", finished)
        expect(time).to_contain_text(wanted)


def test_hidden_page_sends_no_requests(browser: Browser, open_agent: AgentProcess) -> None:
    with visiting(browser, open_agent) as visit:
        page = visit.go()
        hide(page, hidden=True)
        urls: list[str] = []
        page.on("request", lambda request: urls.append(request.url))
        open_agent.await_final(open_agent.schedule("replicante.test.success", {}))
        open_agent.await_final(open_agent.schedule("replicante.test.fail", {}))
        hide(page, hidden=False)
        expect(page.get_by_role("row").nth(1)).to_contain_text("replicante.test.fail")
        # One request returned both: none was sent for the first change.
        assert len([each for each in urls if each.endswith("/ui/")]) <= 2


def hide(page: Page, *, hidden: bool) -> None:
    """Make the page believe that its tab was hidden, or is visible again."""
    page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
        "document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


def test_page_reports_a_lost_agent_and_reconnects(browser: Browser, tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path).start()
    try:
        with visiting(browser, agent) as visit:
            page = visit.go()
            expect(page.get_by_role("status")).to_contain_text("Nothing runs")
            banner = page.get_by_role("alert")
            agent.kill_all()
            expect(banner).to_contain_text(LOST)
            agent.start()
            expect(banner).to_be_hidden()
            agent.await_final(agent.schedule("replicante.test.success", {}))
            expect(page.get_by_role("row").filter(has_text="replicante.test.success")).to_contain_text("done")
            visit.forget_lost_connections()
    finally:
        agent.close()


def test_page_reports_a_killed_agent_within_five_seconds(browser: Browser, tmp_path: Path) -> None:
    """Measured by the clock of the page, which stands still except for these five seconds."""
    agent = AgentProcess(tmp_path).start()
    try:
        with visiting(browser, agent) as visit:
            now = time.time()
            visit.page.clock.install(time=now)
            visit.page.clock.pause_at(now + 3600)  # a clock cannot be paused in the past
            page = visit.go()
            expect(page.get_by_role("status")).to_contain_text("Nothing runs")
            agent.await_final(agent.schedule("replicante.test.success", {}))
            row = page.get_by_role("row").filter(has_text="replicante.test.success")
            while not row.is_visible():
                page.clock.run_for(100)
            agent.kill_all()  # while the page waits before its next request
            page.clock.run_for(5000)
            expect(page.get_by_role("alert")).to_contain_text(LOST)
            page.clock.resume()
            agent.start()
            expect(page.get_by_role("alert")).to_be_hidden()
            visit.forget_lost_connections()
    finally:
        agent.close()


def test_page_reports_a_revoked_token(browser: Browser, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens.toml")
    agent = Guarded(tmp_path, config=f'[api]\ntokens = "{tokens}"\n').start()
    other = "another-token-of-people-012345"
    try:
        with visiting(browser, agent) as visit:
            page = visit.sign_in(DBA_TOKEN)
            page.get_by_role("link", name="Ask").click()
            page.get_by_role("link", name="replicante.test.ping").click()
            page.get_by_label("count").fill("7")
            second = visit.new_page()
            second.goto(visit.url("/ui/"))
            write_tokens(tokens, table("other@example.com", other, ["*"]))
            agent.token = other
            agent.await_final(agent.schedule("replicante.test.success", {}))
            expect(second.get_by_role("alert")).to_contain_text("You are signed out")
            second.get_by_role("alert").get_by_role("link").click()
            expect(second.get_by_label("Token")).to_be_focused()
            expect(page.get_by_label("count")).to_have_value("7")
    finally:
        agent.close()
