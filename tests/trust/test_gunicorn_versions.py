"""The agent works the same with the oldest and the newest gunicorn that setup.cfg allows."""

from __future__ import annotations

import configparser
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.agent_process import CHECKOUT, PREFIX, AgentProcess, eventually
from tests.conformance.shapes import PING, SUCCESS
from tests.servers.process import run
from tests.trust.certificates import Authority
from tests.trust.guarded import Encrypted

pytestmark = pytest.mark.usefixtures("cold_agents")

POST = f"POST {PREFIX}/schedule/{PING} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def allowed() -> tuple[str, str]:
    """The requirements by which pip installs the oldest and the newest version."""
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg")
    (wanted,) = re.findall(r"gunicorn *(>=.*)", setup["options"]["install_requires"])
    oldest = re.match(r">=([0-9.]+)", wanted)
    assert oldest
    return f"gunicorn=={oldest[1]}", f"gunicorn{wanted}"


@pytest.fixture(scope="module", params=["oldest", "newest"])
def gunicorn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with this gunicorn alone."""
    directory: Path = tmp_path_factory.mktemp(f"gunicorn-{request.param}")
    wanted = allowed()[request.param == "newest"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    run([*pip, "--target", directory, wanted], timeout=300)
    return directory


@pytest.fixture
def agent(gunicorn: Path, tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent that this gunicorn serves."""
    started = AgentProcess(tmp_path, env={"PYTHONPATH": f"{gunicorn}:{CHECKOUT}"}).start()
    yield started
    started.close()


def test_requests_of_all_forms_are_served(agent: AgentProcess, gunicorn: Path) -> None:
    (version,) = gunicorn.glob("gunicorn-*.dist-info")
    assert f"Starting gunicorn {version.name.split('-')[1].removesuffix('.dist')}" in agent.log_text()
    with closing(agent.connect()) as kept:
        ids = [agent.schedule(SUCCESS, {}, connection=kept) for _ in range(3)]
        large = agent.post_schedule(SUCCESS, {"text": "x" * 500_000}, connection=kept)
        assert (large.status, large.json["variant"]) == (400, "InvalidArgs")
        chunks = agent.post(f"{PREFIX}/schedule/{PING}", body=(part for part in (b'{"count"', b":1}")), connection=kept)
        assert chunks.status == 200
    assert agent.await_final(chunks.json["id"])["action"]["state"] == "DONE"
    assert agent.state(ids[-1]) == "DONE"
    assert agent.get(f"{PREFIX}/queue", headers={"X-Long": "x" * 9000}).status == 431
    assert agent.get("/" + "x" * 5000).status == 414
    assert agent.post(f"{PREFIX}/schedule/{PING}", body=b"[" * 70).json["variant"] == "InvalidBody"


def test_slow_body_occupies_no_thread(agent: AgentProcess) -> None:
    slow = [socket.create_connection(("127.0.0.1", agent.port), 10) for _ in range(20)]
    try:
        for each in slow:
            each.sendall(f"{POST}Expect: 100-continue\r\nContent-Length: 11\r\n\r\n".encode())
        for each in slow:
            assert each.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert agent.get(f"{PREFIX}/queue").status == 200
        slow[0].sendall(b'{"count":1}')
        assert slow[0].recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    finally:
        for each in slow:
            each.close()


def test_a_reload_and_a_stop_are_clean(agent: AgentProcess) -> None:
    action_id = agent.schedule("replicante.test.loop", {"target": 20, "delay": 0.2})
    agent.await_state(action_id, "RUNNING")
    agent.reload()
    assert agent.await_final(action_id, timeout=20)["action"]["state"] == "DONE"
    agent.stop()
    assert "Traceback" not in agent.whole_log()


def test_callers_are_authenticated_by_their_certificates(gunicorn: Path, authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.server()
    config = f'[api.tls]\ncertificate = "{certificate}"\nkey = "{key}"\nclients_ca = "{authority.ca}"\n'
    agent = Encrypted(tmp_path, config=config, env={"PYTHONPATH": f"{gunicorn}:{CHECKOUT}"})
    agent.context = authority.client("dba@example.com")
    agent.start()
    try:
        action_id = agent.schedule(SUCCESS, {})
        assert f"action {action_id} {SUCCESS} scheduled by dba@example.com" in agent.log_text()
    finally:
        agent.close()


def test_systemd_is_notified_once_the_worker_serves(gunicorn: Path, tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.settimeout(30)
        env = {"PYTHONPATH": f"{gunicorn}:{CHECKOUT}", "NOTIFY_SOCKET": str(address)}
        agent = AgentProcess(tmp_path, env=env).start()
        try:
            datagrams = eventually(
                lambda: [each for each in [systemd.recv(4096)] if each.startswith(b"READY=1")], "READY"
            )
            assert datagrams == [b"READY=1\nSTATUS=Serving"]
        finally:
            agent.close()


def test_mistake_in_the_configuration_exits_with_78(gunicorn: Path, tmp_path: Path) -> None:
    env = {"PYTHONPATH": f"{gunicorn}:{CHECKOUT}"}
    agent = AgentProcess(tmp_path, config='[agent]\nkinds = ["no.such"]\n', env=env)
    with pytest.raises(AssertionError, match=f"exit code {os.EX_CONFIG}:"):
        agent.start()
    assert "agent.kinds: cannot import no.such" in agent.log_text()


def test_sigquit_lets_the_running_step_end(agent: AgentProcess) -> None:
    action_id = agent.schedule(PING, {"count": 50})
    assert agent.process is not None
    agent.process.send_signal(signal.SIGQUIT)
    assert agent.process.wait(40) == 0
    agent.process = None
    agent.start()
    info = agent.await_final(action_id, timeout=30)
    assert info["action"]["state"] == "DONE"
    assert len(info["action"]["state_payload"]) == 50
