"""agentctl callbacks, on the database and the receivers of a running agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.store import Store
from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.callbacks.receivers import Receiver, config
from tests.cli.calling import Ended, call

SUCCESS = "replicante.test.success"
SECRET = "a secret of callbacks"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver().up()
    yield made
    made.down()


def callbacks(agent: AgentProcess, *words: str) -> Ended:
    """`agentctl callbacks` with the configuration of the agent."""
    file = agent.directory / "agent.toml"
    return call(None, "callbacks", *words, AGENT_CONFIG=str(file), AGENT_DB=str(agent.db))


def states(agent: AgentProcess) -> list[list[str]]:
    """Number, pending, receiver and state of each line of the list."""
    return [line.split(maxsplit=3) for line in callbacks(agent, "list").stdout.splitlines()[1:]]


def test_callbacks_are_listed_replayed_and_resumed(start_agent: StartAgent, receiver: Receiver) -> None:
    receiver.behaviours = {"/quite-secret": "500"}
    agent = start_agent(config=config([receiver.url("/quite-secret"), receiver.url("/other")]))
    ids = [agent.schedule(SUCCESS, {}) for _ in range(2)]
    receiver.await_taken(2, "/other", timeout=60)
    origin = receiver.url("")
    expected = [["0", "2", origin, "retrying: it answered 500"], ["1", "0", origin, "ready"]]
    eventually(lambda: states(agent) == expected, "the failure is shown", 60)
    receiver.behaviours = {}
    receiver.await_taken(2, "/quite-secret", timeout=60)
    ended = callbacks(agent, "replay", "1", "--since", "1h")
    assert (ended.status, ended.stdout) == (0, "2 events are sent again\n")
    received = receiver.await_taken(4, "/other", timeout=60)
    assert [each.headers["x-agent-delivery"] for each in received] == ids * 2

    receiver.behaviours = {"/other": "410"}
    agent.await_final(agent.schedule(SUCCESS, {}))
    eventually(lambda: states(agent)[1][3] == "ended: the receiver answered 410", "the end is shown", 60)
    refused = callbacks(agent, "replay", "1", "--since", "1h")
    assert (refused.status, refused.stderr) == (
        2, "the receiver has ended its subscription (410): first run agentctl callbacks resume 1\n",
    )  # fmt: skip
    receiver.behaviours = {}
    assert callbacks(agent, "resume", "1").status == 0
    last = agent.schedule(SUCCESS, {})
    assert receiver.await_taken(5, "/other", timeout=60)[-1].headers["x-agent-delivery"] == last
    assert callbacks(agent, "resume", "1").stderr == "this subscription has not ended\n"
    assert "quite-secret" not in callbacks(agent, "list").stdout


def test_callbacks_test_sends_a_signed_message_and_prints_the_answer(tmp_path: Path, receiver: Receiver) -> None:
    (tmp_path / "secret").write_text(SECRET)
    file = tmp_path / "agent.toml"
    file.write_text(config([receiver.url("/fine"), receiver.url("/bad")], secret=str(tmp_path / "secret")))
    receiver.behaviours = {"/bad": "500"}
    ended = call(None, "callbacks", "test", AGENT_CONFIG=str(file), AGENT_DB=str(tmp_path / "agent.db"))
    fine, bad = ended.stdout.splitlines()
    assert (ended.status, ended.stderr) == (1, "")
    assert fine.startswith(f"0      {receiver.url('')} ") and " accepted after " in fine
    assert bad.startswith("1 ") and bad.endswith(" not accepted: it answered 500")
    one = call(None, "callbacks", "test", "0", AGENT_CONFIG=str(file), AGENT_DB=str(tmp_path / "agent.db"))
    assert one.status == 0 and one.stdout.startswith("0 ")
    received = receiver.taken("/fine")[0]
    assert received.is_signed_with(SECRET) and received.headers["x-agent-event"] == "callback.test"
    assert (received.action["id"], received.action["finished_success"]) == (0, True)
    (tmp_path / "secret").unlink()
    unsigned = call(None, "callbacks", "test", "0", AGENT_CONFIG=str(file), AGENT_DB=str(tmp_path / "agent.db"))
    assert unsigned.status == 1 and unsigned.stdout.rstrip().endswith(
        "secret cannot be read: No such file or directory"
    )


def test_missing_table_database_or_receiver_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"

    def failure(*words: str) -> tuple[int, str]:
        ended = call(None, "callbacks", *words, AGENT_CONFIG=str(file), AGENT_DB=str(tmp_path / "agent.db"))
        return ended.status, ended.stderr

    file.write_text("")
    assert failure("list") == (7, "the configuration has no table [callbacks]\n")
    file.write_text(config(["http://127.0.0.1:1/"]))
    assert failure("list") == (7, f"there is no database at {tmp_path}/agent.db: start the agent\n")
    with closing(Store(tmp_path / "agent.db")) as store:
        store.open()
    assert failure("resume", "0") == (7, "the agent does not know receiver 0 yet: reload it\n")
    assert failure("test", "1") == (7, "callbacks.urls has no receiver 1: it has 1, counted from 0\n")
