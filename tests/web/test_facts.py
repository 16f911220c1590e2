"""The facts about the node and its actions that the page shows to a person on call."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.agent_process import AgentProcess, StartAgent
from tests.servers.redis import RedisServer
from tests.trust.guarded import DBA, DBA_TOKEN, PINGER, PINGER_TOKEN, bearer
from tests.web.browser import visiting
from tests.web.people import Node


def test_header_shows_the_datastore_and_the_findings_of_doctor(
    browser: Browser, start_agent: StartAgent, redis_server: RedisServer
) -> None:
    datastore = f'[datastore]\nkind = "redis"\nurl = "{redis_server.url}"\n'
    agent = start_agent(config=f"{datastore}[actions]\ntimeouts = {{ deplyo = 60 }}\n")
    with visiting(browser, agent) as visit:
        page = visit.go()
        expect(page.get_by_label("This node")).to_contain_text(re.compile(r"redis [0-9.]+\s+primary"))
        expect(page.get_by_label("This node")).to_contain_text(re.compile(r"this process\s*executes"))
        expect(page.get_by_role("complementary")).to_contain_text("no kind is called deplyo")


def test_header_shows_the_lag_of_a_replica(
    browser: Browser, start_agent: StartAgent, redis_server: RedisServer, server_dir: Path
) -> None:
    with RedisServer(server_dir / "replica", replica_of=redis_server) as replica:
        replica.await_replica()
        agent = start_agent(config=f'[datastore]\nkind = "redis"\nurl = "{replica.url}"\n')
        with visiting(browser, agent) as visit:
            head = visit.go().get_by_label("This node")
            expect(head).to_contain_text(re.compile(r"redis [0-9.]+\s+replica, read-only\s*lag\s*0 B\s*maintenance"))
            expect(head).not_to_contain_text("streaming")
            redis_server.cli("acl", "setuser", "default", "-psync", "-sync")
            redis_server.cli("client", "kill", "type", "replica")
            redis_server.cli("set", "k", "x" * 5000)
            expect(head).to_contain_text(re.compile(r"lag\s*[45]\.[0-9] kB"))
            expect(head).to_contain_text("replica, read-only, not streaming")


def test_header_shows_maintenance_and_the_queue_shows_why_an_action_waits(browser: Browser, node: Node) -> None:
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


def test_action_shows_previous_runs_with_their_durations(browser: Browser, node: Node) -> None:
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


def test_running_action_shows_the_usual_duration_of_its_kind(browser: Browser, node: Node) -> None:
    for _ in range(2):
        with node.copying() as (_, gate):
            gate.open()
    done = [each for each in items(node, "kind=tests.copy&state=DONE") if each["started_ts"]]
    with visiting(browser, node) as visit, node.copying():
        page = visit.sign_in(DBA_TOKEN)
        duration = page.get_by_role("article").get_by_text("usually")
        expect(duration).to_have_text(re.compile(rf"^usually [0-9.]+ m?s \({len(done)} runs\)$"))


def items(node: Node, query: str) -> Any:
    return node.get(f"/api/unstable/actions/list?{query}").json["items"]


def test_the_bars_of_the_timeline_are_as_long_as_the_actions_ran(browser: Browser, node: Node) -> None:
    for steps in (2, 30, 10):
        node.await_final(node.schedule("replicante.test.loop", {"target": steps, "delay": 0.02}))
    with visiting(browser, node) as visit:
        visit.sign_in(DBA_TOKEN)
        page = visit.go("/ui/finished?kind=replicante.test.loop")
        ran = times(node.db, "replicante.test.loop")
        first, last = min(begun for begun, _ in ran), max(ended for _, ended in ran)
        # A bar is at least half a percent wide, so that the shortest action is visible.
        wanted = [((begun - first) / (last - first), (ended - begun) / (last - first)) for begun, ended in ran]
        drawn = page.locator(".timeline").evaluate(
            "line => { const box = line.getBoundingClientRect(), of = (each) => each.getBoundingClientRect();"
            "return [...line.querySelectorAll('rect')].map(of).map("
            "each => [(each.left - box.left) / box.width, each.width / box.width]); }"
        )
        assert len(drawn) == 3
        assert drawn == [pytest.approx(each, abs=0.006) for each in wanted]


def times(db: Path, kind: str) -> list[tuple[int, int]]:
    """Start and end of the kind's actions in microseconds, newest first; answers of the API have whole seconds."""
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        return connection.execute(
            "SELECT timestamp, finished_ts FROM actions JOIN history ON action_seq = seq AND history.version = 2"
            " WHERE kind = ? ORDER BY seq DESC",
            (kind,),
        ).fetchall()


def test_callbacks_of_an_action_are_shown_without_secret_parts_of_the_url(
    browser: Browser, open_agent: AgentProcess
) -> None:
    action_id = open_agent.schedule("replicante.test.success", {})
    open_agent.await_final(action_id)
    with visiting(browser, open_agent) as visit:
        page = visit.go(f"/ui/actions/{action_id}")
        callbacks = page.get_by_role("region", name="Callbacks").get_by_role("listitem")
        expect(callbacks).to_have_text("http://127.0.0.1:1: waits for delivery")


def test_finished_actions_are_filtered_by_user_resource_and_time(browser: Browser, node: Node) -> None:
    dropped = node.schedule("tests.drop", {"name": "customers"})
    node.cancel(dropped)
    pinged = node.schedule("replicante.test.ping", {}, headers=bearer(PINGER_TOKEN))
    for each in (dropped, pinged):
        node.await_final(each)
    second = node.info(pinged)["action"]["scheduled_ts"][:19] + "Z"
    with visiting(browser, node) as visit:
        visit.sign_in(DBA_TOKEN)
        page = visit.go("/ui/finished")
        assert {dropped, pinged} < shown(page)
        for label, text, parameter, with_it, without in (
            ("User", PINGER, "user=pinger%40example.com", pinged, dropped),
            ("Resource", "Table/customers", "resource=Table%2Fcustomers", dropped, pinged),
            ("Since (UTC)", second, f"since={quote(second)}", pinged, None),
            ("Until (UTC)", second, f"until={quote(second)}", None, pinged),
            ("Until (UTC)", "2037-01-01 14:30", "until=2037-01-01+14%3A30", dropped, None),
        ):
            page.get_by_label(label).fill(text)
            page.get_by_label(label).press("Enter")
            page.wait_for_url(re.compile(re.escape(parameter)))
            expect(page.get_by_label(label)).to_have_value(text)
            assert with_it is None or with_it in shown(page), parameter
            assert without not in shown(page), parameter
            page.get_by_label(label).fill("")
        page.get_by_label("Since (UTC)").fill("2037-01-01")
        page.get_by_role("button", name="Filter").click()
        expect(page.get_by_text("No finished action matches.")).to_be_visible()


def shown(page: Page) -> set[str]:
    """The ids of the actions in the table, if there is one."""
    links = page.get_by_role("table", name="Finished actions").get_by_role("rowheader").get_by_role("link").all()
    return {str(each.get_attribute("href")).rpartition("/")[2] for each in links}
