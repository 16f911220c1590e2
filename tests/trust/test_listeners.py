"""The agent listens only on the configured addresses, whatever options gunicorn gets; otherwise it does not start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.agent_process import CHECKOUT, PREFIX, AgentProcess
from tests.conftest import close_all
from tests.servers.process import free_port
from tests.trust.guarded import StartGuarded

pytestmark = pytest.mark.usefixtures("cold_agents")

GUNICORN = [sys.executable, "-m", "gunicorn", "-c", str(CHECKOUT / "gunicorn.conf.py")]
AS_SYSTEMD = 'exec 3<&"$FD"; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
"""systemd hands over its sockets from descriptor 3 on."""


class Handed(AgentProcess):
    """An agent that inherits a listening socket, as from a socket unit."""

    listener: socket.socket

    def command(self) -> list[str]:
        script = AS_SYSTEMD.replace('"$FD"', str(self.listener.fileno()))
        return ["bash", "-c", script, "bash", *super().command()]


def refused(directory: Path, options: Sequence[str] = (), *, handed: socket.socket | None = None, **env: str) -> str:
    """The message of an agent that must not start; nothing may answer meanwhile or afterwards."""
    (directory / "agent.toml").touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AGENT_", "GUNICORN_"))}
    own = {"PYTHONPATH": str(CHECKOUT), "AGENT_CONFIG": str(directory / "agent.toml")}
    bound = {"AGENT_DB": str(directory / "agent.db"), "AGENT_BIND": f"127.0.0.1:{free_port()}"}
    command = [*GUNICORN, *options]
    if handed is not None:
        own["FD"] = str(handed.fileno())
        command = ["bash", "-c", AS_SYSTEMD, "bash", *command]
    ended = subprocess.run(
        command,
        cwd=directory,
        env=kept | own | bound | env,
        pass_fds=[handed.fileno()] if handed is not None else [],
        capture_output=True,
        timeout=60,
        text=True,
        check=False,
    )
    printed = ended.stdout + ended.stderr
    assert ended.returncode != 0, printed
    assert "Booting worker" not in printed
    assert "Traceback" not in printed, printed
    (output,) = [line for line in printed.splitlines() if line.startswith("agent: ")]
    return output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-b", "0.0.0.0:{port}"], "gunicorn's command line sets bind: remove it; set api.bind in agent.toml instead"),
        (["--bind", "unix:{directory}/open.sock"], "gunicorn's command line sets bind"),
        (["-b", "fd://0"], "gunicorn's command line sets bind"),
        (["--workers", "4"], "gunicorn's command line sets workers: remove it; the agent sets it itself"),
        (["--threads", "1"], "gunicorn's command line sets threads: remove it; set api.threads in agent.toml instead"),
        (["--preload"], "gunicorn's command line sets preload_app"),
        (["--reload"], "gunicorn's command line sets reload"),
        (["--umask", "0"], "gunicorn's command line sets umask: remove it; set api.socket_mode in agent.toml instead"),
        (["--user", "nobody"], "gunicorn's command line sets user"),
        (["--group", "nogroup"], "gunicorn's command line sets group: remove it; set api.socket_group"),
        (["-k", "sync"], "gunicorn's command line sets worker_class"),
        (["--chdir", "/tmp"], "gunicorn's command line sets chdir"),
        (["--pythonpath", "/tmp"], "gunicorn's command line sets pythonpath"),
        (["--forwarded-allow-ips", "*"], "gunicorn's command line sets forwarded_allow_ips"),
        (["--forwarder-headers", "PATH_INFO"], "gunicorn's command line sets forwarder_headers"),
        (["--env", "AGENT_BIND=0.0.0.0:80"], "gunicorn's command line sets raw_env"),
        (["--access-logformat", "%({{authorization}}i)s"], "gunicorn's command line sets access_log_format"),
        (["--max-requests", "1"], "gunicorn's command line sets max_requests"),
        (["--timeout", "1"], "gunicorn's command line sets timeout"),
        (["--graceful-timeout", "1"], "gunicorn's command line sets graceful_timeout"),
        (["--daemon"], "gunicorn's command line sets daemon"),
        (["--certfile", "x"], "gunicorn's command line sets certfile: remove it; set api.tls.certificate"),
        (["other:app"], "gunicorn's command line names another application: remove it; the agent's is wsgi:app"),
    ],
)
def test_gunicorn_option_that_breaks_a_promise_is_refused(tmp_path: Path, options: list[str], message: str) -> None:
    words = [each.format(port=free_port(), directory=tmp_path) for each in options]
    assert refused(tmp_path, words).startswith(f"agent: {message}")
    assert not (tmp_path / "open.sock").exists()


def test_bind_in_gunicorn_cmd_args_is_refused(tmp_path: Path) -> None:
    message = "agent: GUNICORN_CMD_ARGS sets bind: remove it; set api.bind in agent.toml instead"
    assert refused(tmp_path, GUNICORN_CMD_ARGS=f"--bind=0.0.0.0:{free_port()}") == message


def test_the_control_socket_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, ["--control-socket", str(tmp_path / "control")])
    assert message.startswith("agent: gunicorn's command line sets control_socket")


def test_harmless_gunicorn_options_are_accepted(tmp_path: Path) -> None:
    class Given(AgentProcess):
        def command(self) -> list[str]:
            pid = str(tmp_path / "pid")
            return [*super().command(), "--log-level", "debug", "--pid", pid, "--access-logfile", "-", "wsgi:app"]

    agent = Given(tmp_path, env={"WEB_CONCURRENCY": "3", "PORT": "1"}).start()
    try:
        assert agent.queue() == []
        assert len(agent.workers()) == 1
        assert (tmp_path / "pid").exists()
    finally:
        agent.close()


def test_other_configuration_of_gunicorn_does_not_start(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "/dev/null", "-b", f"127.0.0.1:{free_port()}", "wsgi:app"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        timeout=60,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert "agent: start it as gunicorn -c gunicorn.conf.py" in ended.stderr


# Sockets that systemd hands over


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_socket_that_api_bind_does_not_name_is_refused(tmp_path: Path, everywhere: bool) -> None:
    with socket.create_server(("0.0.0.0" if everywhere else "127.0.0.1", 0)) as listener:
        address, port = listener.getsockname()
        message = refused(tmp_path, handed=listener)
    assert f"but gunicorn listens on {address}:{port}: name this address in api.bind, or remove it" in message


def test_host_name_of_a_non_loopback_address_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0abstract-of-a-test-" + str(os.getpid()))
        listener.listen()
        message = refused(tmp_path, handed=listener)
    assert "gunicorn listens on unix:@abstract-of-a-test-" in message


def test_an_address_where_nothing_listens_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bound = f"127.0.0.1:{listener.getsockname()[1]}"
        message = refused(tmp_path, handed=listener, AGENT_BIND=f"{bound},unix:{tmp_path}/agent.sock")
    assert message.startswith(f"agent: api.bind names unix:{tmp_path}/agent.sock, where gunicorn does not listen")


def test_inherited_socket_in_api_bind_is_served_with_the_host_check(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        agent = Handed(tmp_path)
        agent.port = listener.getsockname()[1]
        agent.env["AGENT_BIND"] = f"127.0.0.1:{agent.port}"
        agent.listener = listener
        try:
            start_with(agent, listener)
            assert agent.queue() == []
            assert agent.get(f"{PREFIX}/queue", headers={"Host": "rebound.example.com"}).status == 421
        finally:
            close_all([agent])


def start_with(agent: AgentProcess, listener: socket.socket) -> None:
    with agent.log.open("ab") as log:
        agent.process = subprocess.Popen(
            agent.command(),
            cwd=agent.directory,
            env=agent.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    agent.await_ready()


# Several addresses, and a reload


def test_each_of_several_addresses_has_its_own_host_check(tmp_path: Path) -> None:
    by_socket = AgentProcess(tmp_path, unix=True)
    by_port = AgentProcess(tmp_path)
    by_socket.env["AGENT_BIND"] = f"{by_socket.env['AGENT_BIND']},{by_port.env['AGENT_BIND']}"
    try:
        by_socket.start()
        for agent, foreign in ((by_socket, 200), (by_port, 421)):
            assert agent.get(f"{PREFIX}/queue").status == 200
            assert agent.get(f"{PREFIX}/queue", headers={"Host": "rebound.example.com"}).status == foreign
    finally:
        by_socket.close()


def test_reload_to_a_refused_address_keeps_the_configuration(start_guarded: StartGuarded) -> None:
    guarded = start_guarded(everywhere=True)
    (guarded.directory / "agent.toml").write_text("")
    guarded.reload()
    assert guarded.get(f"{PREFIX}/queue", headers={"Authorization": None}).status == 401
    assert "the previous configuration stays active" in guarded.log_text()


def test_reload_with_a_new_address_closes_the_old_one(tmp_path: Path) -> None:
    agent, moved = AgentProcess(tmp_path, env={"AGENT_BIND": ""}), free_port()
    file = tmp_path / "agent.toml"
    file.write_text(f'[api]\nbind = "127.0.0.1:{agent.port}"\n')
    try:
        agent.start()
        left = agent.port
        file.write_text(f'[api]\nbind = ["127.0.0.1:{moved}"]\n')
        assert agent.process is not None
        agent.port = moved
        agent.process.send_signal(signal.SIGHUP)
        agent.await_ready()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", left), timeout=10)
    finally:
        agent.close()


@pytest.mark.parametrize("bind", ["[]", '["127.0.0.1:1", "127.0.0.1:1"]', '["unix://here"]', "[1]"])
def test_invalid_addresses_are_refused(tmp_path: Path, bind: str) -> None:
    (tmp_path / "agent.toml").write_text(f"[api]\nbind = {bind}\n")
    assert "api.bind" in refused(tmp_path, AGENT_BIND="")
