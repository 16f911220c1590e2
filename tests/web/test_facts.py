"""What a person on call reads of the node and of an action."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, expect

from tests.agent_process import AgentProcess, StartAgent
from tests.servers.redis import RedisServer
from tests.trust.guarded import DBA, DBA_TOKEN
from tests.web.browser import visiting
from tests.web.people import Node


def test_the_head_shows_the_datastore_and_what_doctor_finds(
    browser: Browser, start_agent: StartAgent, redis_server: RedisServer
) -> None:
    datastore = f'[datastore]\nkind = "redis"\nurl = "{redis_server.url}"\n'
    agent = start_agent(config=f"{datastore}[actions]\ntimeouts = {{ deplyo = 60 }}\n")
    with visiting(browser, agent) as visit:
        page = visit.go()
        expect(page.get_by_label("This node")).to_contain_text(re.compile(r"redis [0-9.]+\s+primary"))
        expect(page.get_by_label("This node")).to_contain_text(re.compile(r"this process\s*executes"))
        expect(page.get_by_role("complementary")).to_contain_text("no kind is called deplyo")


def test_the_head_shows_maintenance_and_the_queue_why_an_action_waits(browser: Browser, node: Node) -> None:
    node.await_final(node.schedule("maintenance_mode", {"value": True}))
    with visiting(browser, node) as visit:
        page = visit.sign_in(DBA_TOKEN)
        expect(page.get_by_label("This node")).to_contain_text(re.compile(rf"maintenance\s*on since .* by {DBA}", re.S))
        held = node.schedule("tests.flush", {})
        later = node.schedule("tests.form", {"title": "x"}, headers={"Not-Before": "2037-01-01T00:00:00Z"})
        queue = page.get_by_role("table", name="The queue")
        expect(queue.get_by_role("row").nth(1)).to_contain_text(re.compile("maintenance mode is on since .*[0-9]"))
        expect(queue.get_by_role("row").nth(2)).to_contain_text(re.compile("not before .*203[67]"))
        node.cancel(later)
        node.await_final(node.schedule("maintenance_mode", {"value": False}))
        node.await_final(held)
        expect(page.get_by_label("This node")).to_contain_text(re.compile(r"maintenance\s*off"))


def test_an_action_shows_the_runs_before_it_and_how_long_they_took(browser: Browser, node: Node) -> None:
    for title in ("first", "second"):
        newest = node.schedule("tests.form", {"title": title})
        node.await_final(newest)
    with visiting(browser, node) as visit:
        visit.sign_in(DBA_TOKEN)
        page = visit.go(f"/ui/actions/{newest}")
        expect(page.get_by_role("definition").filter(has_text="before)")).to_have_text(
            re.compile(r"^[0-9.]+ m?s \([0-9]+ runs? before\)$")
        )
        before = page.get_by_role("table", name="Runs before of this kind on this resource")
        expect(before.get_by_role("row").nth(1)).to_contain_text("done")
        after = page.get_by_role("table", name="Every state").get_by_role("row").nth(1).get_by_role("cell").nth(1)
        expect(after).to_have_text(re.compile(r"^[0-9.]+ m?s$"))


def test_an_action_shows_its_callbacks_without_what_may_be_a_secret(browser: Browser, open_agent: AgentProcess) -> None:
    action_id = open_agent.schedule("replicante.test.success", {})
    open_agent.await_final(action_id)
    with visiting(browser, open_agent) as visit:
        page = visit.go(f"/ui/actions/{action_id}")
        callbacks = page.get_by_role("region", name="Callbacks").get_by_role("listitem")
        expect(callbacks).to_have_text("http://127.0.0.1:1: waits for delivery")


def test_finished_actions_are_filtered_by_time_in_the_address(browser: Browser, node: Node) -> None:
    node.await_final(node.schedule("replicante.test.success", {}))
    with visiting(browser, node) as visit:
        visit.sign_in(DBA_TOKEN)
        page = visit.go("/ui/finished?since=2020-01-01&until=2037-01-01+14:30")
        expect(page.get_by_role("table").get_by_role("row").nth(1)).to_contain_text("replicante.test.success")
        expect(page.get_by_label("Until (UTC)")).to_have_value("2037-01-01 14:30")
        visit.go("/ui/finished?since=2037-01-01")
        expect(page.get_by_text("No finished action matches.")).to_be_visible()
