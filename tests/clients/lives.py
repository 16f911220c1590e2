"""A node with actions from every channel, and complete lives of actions for a client to read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from agent.client import Client
from tests.agent_process import Response
from tests.hooks.pushing import SECRET, deliver, encoded, push, taken
from tests.trust.guarded import Guarded, table, write_tokens

CONTROLLER, CONTROLLER_TOKEN = "core@example.com", "the-token-of-the-controller-0123"
OTHER, OTHER_TOKEN = "other@example.com", "the-token-of-another-identity-01"
CONFIG = """
[agent]
node = "db-1"
stack = "blue"
test_kinds = true
[api]
tokens = "tokens.toml"
{api}
[applications.shop]
repository = "{directory}/no-such.git"
path = "{directory}/shop"
hook_secret = "{directory}/shop.secret"
[external_actions.note]
action = ["sh", "-c", "echo $AGENT_ACTION >> {directory}/ran"]
check = ["echo", '{{"status": "finished"}}']
interval = 0.05
{more}
"""
PING, LOOP, FAIL = "replicante.test.ping", "replicante.test.loop", "replicante.test.fail"


class Node(Guarded):
    """A node called with the token of a controller unless another is set; `local` is the url for agentctl."""

    def __init__(self, directory: Path, api: str, more: str = "") -> None:
        super().__init__(directory, config=CONFIG.format(directory=directory, api=api, more=more))
        (directory / "shop.secret").write_text(f"{SECRET}\n")
        may = 'permissions = ["controller"]\n'
        identities = table(CONTROLLER, CONTROLLER_TOKEN, ["*"]) + may + table(OTHER, OTHER_TOKEN, ["*"])
        write_tokens(directory / "tokens.toml", f'{identities}[unix.root]\nkinds = ["*"]\n')
        self.env["AGENT_BIND"] = f"127.0.0.1:{self.port},unix:{directory}/agent.sock"
        self.token = CONTROLLER_TOKEN
        self.local = Client(f"unix:{directory}/agent.sock")

    def ran(self) -> list[str]:
        """The ids of the actions of `external.note` that ran, once for each time."""
        file = self.directory / "ran"
        return file.read_text().split() if file.exists() else []


@contextmanager
def node(directory: Path, api: str, more: str = "") -> Iterator[Node]:
    started = Node(directory, api, more)
    try:
        started.start()
        yield started
    finally:
        started.close()


def by_api(node: Node, kind: str, args: Any) -> str:
    answer = node.post(
        f"/api/unstable/actions/schedule/{kind}", json=args, headers={"Node-Protocol": "seed", "X-Request-Id": "r-1"}
    )
    assert answer.status == 200, answer
    return str(answer.json["id"])


def by_cli(node: Node, kind: str, args: Any) -> str:
    """Schedule with agentctl through the socket of the host, as a user of the host."""
    return node.local.schedule(kind, args)


def by_hook(node: Node) -> str:
    number = taken(deliver(node, encoded(push())))["id"]
    return str(node.get(f"/api/unstable/actions/info/{number}").json["action"]["id"])


def by_web(node: Node) -> str:
    """Schedule by the page, as in a browser without scripts: sign in, read the plan, schedule."""
    signed_in = _form(node, "/ui/sign-in", {"token": CONTROLLER_TOKEN, "next": "/ui/"}, "")
    cookie = str(signed_in.headers["Set-Cookie"]).partition(";")[0]
    path, given = f"/ui/ask/{PING}", {"arg.count": "2"}
    shown = _form(node, path, given | {"do": "plan"}, cookie).body.decode()
    hidden = dict(re.findall(r'<input type="hidden" name="(planned|key)" value="([^"]*)"', shown))
    scheduled = _form(node, path, given | hidden | {"do": "schedule"}, cookie)
    assert scheduled.status == 303, scheduled
    return str(scheduled.headers["Location"]).rpartition("/")[2]


def _form(node: Node, path: str, fields: dict[str, str], cookie: str) -> Response:
    sent: dict[str, str | None] = {
        "Authorization": None,
        "Content-Type": "application/x-www-form-urlencoded",
        "Sec-Fetch-Site": "same-origin",
        "Cookie": cookie or None,
    }
    return node.post(path, body=urlencode(fields).encode(), headers=sent)


CHANNELS: dict[str, Callable[[Node, str, Any], str]] = {"API": by_api, "CLI": by_cli}
"""By channel: how an action of any kind is scheduled. Only a deploy comes by HOOK, and one ping by WEB."""


def live(node: Node) -> Iterator[dict[str, str]]:
    """The channel of each action by its id, at three stages: some waiting, one running, all final."""
    channels: dict[str, str] = {}
    running = by_api(node, LOOP, {"target": 600, "delay": 1})
    channels[running] = "API"
    for channel, schedule in CHANNELS.items():
        for kind, args in ((PING, {"count": 2}), (FAIL, {}), ("external.note", ["any", {"json": None}])):
            channels[schedule(node, kind, args)] = channel
    channels[by_hook(node)] = "HOOK"
    channels[by_web(node)] = "WEB"
    await_state(node, running, "RUNNING")
    yield channels
    cancelled = by_api(node, PING, {"count": 1})
    channels[cancelled] = "API"
    node.cancel(cancelled)
    node.cancel(running)
    for each in channels:
        node.await_final(each, timeout=60)
    yield channels


def await_state(node: Node, action_id: str, state: str) -> None:
    node.await_state(action_id, state, timeout=60)
