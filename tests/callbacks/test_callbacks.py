"""Callbacks of final actions: every receiver gets each one complete, signed, in order and retried until accepted."""

from __future__ import annotations

import json
import ssl
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent import config as configuration
from agent.errors import ConfigError
from agent.store import Store, outbox
from tests.agent_process import CHECKOUT, AgentProcess, StartAgent, eventually
from tests.callbacks.receivers import Receiver, config, outcomes
from tests.chaos.wall_clock import STEADY_SLEEP, Clock
from tests.servers.process import free_port
from tests.store.scenes import finish, schedule
from tests.trust.certificates import Authority

SECRET = "the secret of callbacks"
SECRETIVE = '[agent]\nnode = "db 1"\nkinds = ["tests.conformance.secretive"]'
PROXY = f"http://127.0.0.1:{free_port()}"
FAST = "[actions]\nexecute_interval = 0.2\nprune_interval = 0.2\nprune_keep = 0\n"


def kept(agent: AgentProcess) -> int:
    return int(agent.get("/api/3/stacks/default/actions").json["pagination"]["count"])


def lines(agent: AgentProcess, text: str) -> list[str]:
    return [line for line in agent.log_text().splitlines() if text in line]


def test_callback_of_every_outcome_has_the_action_as_the_api_returns_it(
    start_agent: StartAgent, receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    agent = start_agent(
        config=config([receiver.url("/told?token=quite-secret")], SECRETIVE, secret=str(tmp_path / "secret")),
        env={"http_proxy": PROXY, "HTTP_PROXY": PROXY, "all_proxy": PROXY},
    )
    done = agent.schedule("tests.secretive", {"password": "correct horse"})
    failed = agent.schedule("replicante.test.fail", {})
    agent.await_final(failed)
    running = agent.occupy()
    waiting = agent.schedule("replicante.test.success", {})
    assert agent.cancel(waiting).status == 200
    receiver.await_taken(3, "/told?token=quite-secret", timeout=3)
    assert agent.cancel(running).status == 200
    received = receiver.await_taken(4, "/told?token=quite-secret")
    assert [each.headers["x-agent-delivery"] for each in received] == [done, failed, waiting, running]
    for each in received:
        seen = agent.get(f"/api/3/stacks/default/actions/{each.action['id']}").json["response"]
        assert each.action == seen
        assert each.is_signed_with(SECRET)
        assert each.headers["x-agent-node"] == "db%201"
        assert each.headers["content-type"] == "application/json"
        assert b"correct horse" not in each.body
    assert [each.action["finished_success"] for each in received] == [True, False, False, False]
    assert len(receiver.received) == 4
    assert "quite-secret" not in agent.whole_log()


def test_callbacks_without_a_secret_are_unsigned_with_one_warning(
    start_agent: StartAgent, receiver: Receiver, tmp_path: Path
) -> None:
    agent = start_agent(config=config([receiver.url()]))
    outcomes(agent, 1)
    assert "x-hub-signature-256" not in receiver.await_taken(1)[0].headers
    assert lines(agent, "unsigned") == ["WARNING callbacks are sent unsigned: callbacks.secret is not set"]
    (tmp_path / "secret").write_text(SECRET)
    agent.stop()
    (agent.directory / "agent.toml").write_text(config([receiver.url()], secret=str(tmp_path / "secret")))
    agent.start()
    assert len(lines(agent, "unsigned")) == 1


def test_receiver_down_for_fifty_actions_gets_all_callbacks_in_order(
    start_agent: StartAgent, receiver: Receiver
) -> None:
    receiver.down()
    path = "/quite-secret?token=quite-secret"
    agent = start_agent(config=config([receiver.url(path)], FAST))
    ids = outcomes(agent, 50)
    assert agent.get("/api/3/stacks/default/actions?per_page=100").json["count"] == 50
    eventually(lambda: lines(agent, "callbacks to"), "the waiting callbacks are logged")
    receiver.up()
    received = receiver.await_taken(50, path)
    assert [each.headers["x-agent-delivery"] for each in received] == ids
    seqs = [each.action["id"] for each in received]
    assert seqs == sorted(seqs)
    eventually(lambda: kept(agent) == 0, "they are pruned")
    assert len(receiver.received) == 50
    assert lines(agent, "callbacks to") == [
        f"WARNING callbacks to {receiver.url('')} are delayed: Connection refused",
        f"INFO callbacks to {receiver.url('')} are accepted again",
    ]
    assert "quite-secret" not in agent.whole_log()


ANSWERS = {
    "/404": ("404", "it answered 404"),
    "/500": ("500", "it answered 500"),
    "/302": ("redirect", "it answered 307"),
    "/garbage": ("garbage", "its answer is not HTTP"),
    "/close": ("close", "it closed the connection without an answer"),
    "/hang": ("hang", "no answer within 1 s"),
    "/drip": ("drip", "no answer within 1 s"),
}


def test_refused_callback_is_retried_and_delays_no_other_receiver(start_agent: StartAgent, receiver: Receiver) -> None:
    receiver.behaviours = {path: behaviour for path, (behaviour, _) in ANSWERS.items()}
    paths = [*ANSWERS, "/fine"]
    agent = start_agent(config=config([receiver.url(path) for path in paths], timeout=1))
    begin = time.monotonic()
    ids = outcomes(agent, 20)
    assert time.monotonic() - begin < 20, "no action waited for the timeout of a receiver"
    received = receiver.await_taken(20, "/fine")
    assert [each.headers["x-agent-delivery"] for each in received] == ids
    waits = sorted(f"WARNING callbacks to {receiver.url('')} are delayed: {reason}" for _, reason in ANSWERS.values())
    eventually(lambda: sorted(lines(agent, " are delayed: ")) == waits, "each waits, for its own reason")
    assert not [path for path in ANSWERS if receiver.taken(path)]
    receiver.behaviours = {}
    receiver.resumed.set()
    for path in ANSWERS:
        received = receiver.await_taken(20, path)
        assert [each.headers["x-agent-delivery"] for each in received] == ids
    eventually(lambda: len(lines(agent, " are accepted again")) == len(ANSWERS), "each is taken again")
    assert len(lines(agent, " are delayed: ")) == len(ANSWERS)
    assert not [each for each in receiver.received if each.path == "/elsewhere"]
    assert "Traceback" not in agent.whole_log()


def test_hanging_receiver_delays_neither_calls_nor_queue_nor_stop(start_agent: StartAgent, receiver: Receiver) -> None:
    receiver.behaviours = {"/": "hang"}
    timeout = 30
    agent = start_agent(config=config([receiver.url()], timeout=timeout))
    outcomes(agent, 1)
    eventually(lambda: receiver.received, "the callback arrives")
    connection = agent.connect()
    begin = time.monotonic()
    for _ in range(100):
        agent.schedule("replicante.test.success", {}, connection=connection)
    connection.close()
    eventually(lambda: not agent.queue(), "all are executed", timeout)
    agent.stop(timeout=timeout)
    assert time.monotonic() - begin < timeout, "nothing waited for the receiver"


def test_reload_cuts_a_hanging_delivery_and_the_next_executor_continues_in_order(
    start_agent: StartAgent, receiver: Receiver
) -> None:
    agent = start_agent(config=config([receiver.url()], timeout=30))
    ids = outcomes(agent, 2)
    receiver.await_taken(2)
    receiver.behaviours = {"/": "hang"}
    ids += outcomes(agent, 2)
    eventually(lambda: len(receiver.received) == 3, "the third arrives")
    receiver.behaviours = {}
    agent.reload()
    ids += outcomes(agent, 1)
    received = [each.headers["x-agent-delivery"] for each in receiver.await_taken(5)]
    assert received == ids
    assert [each.headers["x-agent-delivery"] for each in receiver.received] == [*ids[:3], *ids[2:]]
    assert not lines(agent, " are delayed: "), "no receiver is reported for the stop"


def test_a_kill_between_the_commit_and_the_delivery_loses_nothing(start_agent: StartAgent, receiver: Receiver) -> None:
    receiver.behaviours = {"/": "hang"}
    agent = start_agent(config=config([receiver.url()], FAST))
    ids = outcomes(agent, 3)
    eventually(lambda: receiver.received, "the callback arrives")
    agent.kill_all()
    receiver.behaviours = {}
    agent.start()
    received = receiver.await_taken(3)
    assert [each.headers["x-agent-delivery"] for each in received] == ids
    assert receiver.received[0].body == received[0].body, "the same again, by the same name"
    receiver.down()
    more = outcomes(agent, 2)
    agent.kill_worker()
    receiver.up()
    assert [each.headers["x-agent-delivery"] for each in receiver.await_taken(5)[3:]] == more


def test_a_kill_at_any_time_loses_nothing_and_disorders_nothing(start_agent: StartAgent, receiver: Receiver) -> None:
    agent = start_agent(config=config([receiver.url()], "[actions]\nexecute_interval = 0.2"))
    ids: list[str] = []
    for round_ in range(3):
        ids += [agent.schedule("replicante.test.success", {}) for _ in range(15)]
        eventually(lambda r=round_: len(receiver.received) > 15 * r + 3, "some arrive")  # type: ignore[misc]
        agent.kill_all()
        agent.start()
    agent.await_final(ids[-1])
    eventually(
        lambda: receiver.received and receiver.received[-1].headers["x-agent-delivery"] == ids[-1], "all arrived"
    )
    received = [each.headers["x-agent-delivery"] for each in receiver.received]
    assert list(dict.fromkeys(received)) == ids
    assert len(received) <= len(ids) + 3, "a kill repeats one at most"
    assert received == sorted(received, key=ids.index)


def test_callbacks_older_than_keep_are_dropped_with_one_line(
    start_agent: StartAgent, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.behaviours = {"/": "500"}
    with closing(Store(tmp_path / "agent.db")) as store:
        outbox.set_receivers(store, [receiver.url()], ("action.final",))
        for _ in range(3):
            schedule(store)
            finish(store)
    agent = start_agent(config=config([receiver.url()], FAST, keep=1), env={"AGENT_DB": str(store.path)})
    dropped = f"ERROR 3 callbacks to {receiver.url('')} were not accepted within 1 s and are dropped"
    eventually(lambda: lines(agent, "dropped") == [dropped], "they are dropped")
    eventually(lambda: kept(agent) == 0, "they are kept no longer")
    receiver.behaviours = {}
    later = outcomes(agent, 1)
    assert [each.headers["x-agent-delivery"] for each in receiver.await_taken(1)] == later
    assert len(lines(agent, " are delayed: ")) == 1


def test_jumps_of_the_wall_clock_neither_drop_callbacks_nor_flood_the_receiver(
    start_agent: StartAgent, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.behaviours = {"/": "500"}
    wall = Clock(tmp_path)
    env = wall.environment | {"PYTHONPATH": f"{CHECKOUT}:{STEADY_SLEEP}"}
    agent = start_agent(config=config([receiver.url()], keep=3600), env=env)
    ids = outcomes(agent, 2)
    eventually(lambda: len(receiver.received) == 2, "it was tried twice")
    for jump in ("-1d", "+365d", "-1d", "+0"):
        wall.set(jump)
        ids += outcomes(agent, 1)
    receiver.behaviours = {}
    first = receiver.await_taken(1, timeout=60)[0]
    tries = [each.at for each in receiver.received[: receiver.received.index(first) + 1]]
    pauses = [after - before for before, after in pairwise(tries)]
    assert all(pause >= 0.9 * due for pause, due in zip(pauses, (1, 2, 4, 8), strict=False)), pauses
    assert not lines(agent, "dropped")
    assert [each.headers["x-agent-delivery"] for each in receiver.await_taken(6)] == ids


def test_callbacks_of_a_removed_or_edited_url_are_dropped_with_one_line(
    start_agent: StartAgent, receiver: Receiver, other: Receiver
) -> None:
    receiver.behaviours = {"/quite-secret": "500"}
    agent = start_agent(config=config([receiver.url("/quite-secret"), other.url()], FAST))
    outcomes(agent, 3)
    other.await_taken(3)
    agent.stop()
    (agent.directory / "agent.toml").write_text(config([receiver.url("/edited")], FAST))
    agent.start()
    eventually(lambda: len(lines(agent, "no longer configured")) == 2 and kept(agent) == 0, "they are forgotten")
    assert sorted(lines(agent, "no longer configured")) == sorted(
        f"WARNING {count} callbacks to {url} are dropped: their URL is no longer configured"
        for url, count in ((receiver.url(""), 3), (other.url(""), 0))
    )
    later = outcomes(agent, 1)
    assert [each.headers["x-agent-delivery"] for each in receiver.await_taken(1, "/edited")] == later
    assert len(other.received) == 3
    assert "quite-secret" not in agent.whole_log()


def test_only_one_of_two_agents_on_one_database_sends_callbacks(start_agent: StartAgent, receiver: Receiver) -> None:
    text = config([receiver.url()], "[actions]\nexecute_interval = 0.2")
    first = start_agent(config=text)
    outcomes(first, 1)
    second = start_agent(config=text, env={"AGENT_DB": str(first.db)})
    ids = [agent.schedule("replicante.test.success", {}) for agent in (first, second) * 5]
    waiting = first.occupy()
    late = second.schedule("replicante.test.success", {})
    assert second.cancel(late).status == 200
    received = receiver.await_taken(12)
    assert [each.headers["x-agent-delivery"] for each in received[1:]] == [*ids, late]
    first.cancel(waiting)
    receiver.await_taken(13)
    assert len(receiver.received) == 13


def test_an_unreadable_secret_sends_nothing_unsigned(
    start_agent: StartAgent, receiver: Receiver, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    agent = start_agent(config=config([receiver.url()], secret=str(file)))
    file.rename(tmp_path / "away")
    outcomes(agent, 1)
    eventually(lambda: lines(agent, f"are delayed: {file} cannot be read: No such file"), "it says why")
    assert not receiver.received
    (tmp_path / "away").rename(file)
    assert receiver.await_taken(1)[0].is_signed_with(SECRET)


def test_certificates_are_verified(start_agent: StartAgent, tmp_path: Path) -> None:
    known, stranger = encrypted(tmp_path / "known"), encrypted(tmp_path / "stranger")
    try:
        urls = [stranger.url(), known.url()]
        agent = start_agent(config=config(urls), env={"SSL_CERT_FILE": str(tmp_path / "known" / "ca.pem")})
        outcomes(agent, 1)
        known.await_taken(1)
        refused = f"{stranger.url('')} are delayed: its certificate is not accepted: "
        eventually(lambda: lines(agent, refused), "it is refused")
        assert not stranger.received
    finally:
        known.down()
        stranger.down()


def encrypted(directory: Path) -> Receiver:
    """A receiver with a certificate of a private authority."""
    directory.mkdir()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Authority(directory).server())
    return Receiver(context).up()


@pytest.mark.parametrize(
    "url", ["http://a b/", "http://host/\u00e9", "http://u:hidden@host/", "ftp://host/", "http:///x", "http://h/#x", 7]
)
def test_invalid_url_is_refused_and_not_repeated_in_the_message(url: Any) -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.urls\.0: expected http:// or https://") as refused:
        configuration.parse({"callbacks": {"urls": [url]}})
    assert "hidden" not in str(refused.value)


def test_callback_with_lone_surrogates_and_nul_is_valid_json(start_agent: StartAgent, receiver: Receiver) -> None:
    """Also what is hardly text."""
    more = '[external_actions.odd]\naction = ["/bin/true"]\ncheck = ["/bin/echo", \'{"status": "finished"}\']'
    agent = start_agent(config=config([receiver.url()], more))
    action_id = agent.schedule("external.odd", {"half": "\ud800", "nul": "\0", "far": "\U0001f418"})
    agent.await_final(action_id)
    received = receiver.await_taken(1)[0]
    assert received.action["metadata"] == json.loads(json.dumps({"half": "\ud800", "nul": "\0", "far": "\U0001f418"}))
