"""A push is deployed, and its callback is sent."""

from __future__ import annotations

from pathlib import Path

from tests.agent_process import PREFIX, StartAgent
from tests.callbacks.receivers import Receiver
from tests.hooks.pushing import SECRET, deliver, encoded, hooked, push, taken
from tests.servers.shop import Origin

CALLBACKS = """
[callbacks]
urls = ["{url}"]
secret = "{directory}/shop.secret"
"""


def test_push_is_deployed_and_its_callback_sent(start_agent: StartAgent, tmp_path: Path) -> None:
    repository = Origin(tmp_path)
    pushed = repository.commit({"version": "one"})
    repository.commit({"version": "two"}, "next")
    receiver = Receiver().up()
    try:
        settings = hooked(tmp_path).replace("shop.git", repository.path.name)
        agent = start_agent(config=settings + CALLBACKS.format(url=receiver.url(), directory=tmp_path))
        begun = taken(deliver(agent, encoded(push(after=pushed))))
        assert (begun["action"], begun["started_via"], begun["user"]) == ("deploy", "hook", "hook:shop")
        [received] = receiver.await_taken(1)
        assert received.is_signed_with(SECRET)
        assert received.action["id"] == begun["id"]
        assert received.action["finished_success"], received.action["finished_message"]
        assert received.action["finished_result"]["git_hash"] == pushed
        assert agent.info(received.headers["x-agent-delivery"])["action"]["requester"] == "HOOK"
        assert received.action == agent.get(f"/api/3/stacks/default/actions/{begun['id']}").json["response"]
    finally:
        receiver.down()
    assert (tmp_path / "shop/current/version").read_text() == "one"
    assert agent.get(f"{PREFIX}/queue").json == []
