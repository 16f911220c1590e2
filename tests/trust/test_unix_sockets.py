"""Access to a unix socket, and the identity of the connected user, which comes from the kernel and no header."""

from __future__ import annotations

import grp
import json
import os
import pwd
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.agent_process import PREFIX, AgentProcess
from tests.conformance.shapes import PING, SUCCESS
from tests.test_config import started_in_vain
from tests.trust.guarded import DBA_TOKEN, THREE, Guarded, assert_refused, write_tokens
from tests.trust.test_listeners import refused

USER = "daemon"
"""A user that exists on every Debian and cannot log in."""
GROUP = "games"
NODE = "db-7"
AS = """
import json, os, pwd, sys
user, path, method, url, headers, body = json.loads(sys.stdin.read())
entry = pwd.getpwnam(user)
os.setgroups([])
os.setgid(entry.pw_gid)
os.setuid(entry.pw_uid)
import socket
client = socket.socket(socket.AF_UNIX)
client.connect(path)
lines = [f"{method} {url} HTTP/1.1", "Host: x", "Connection: close", *(f"{k}: {v}" for k, v in headers.items())]
client.sendall(("\\r\\n".join([*lines, f"Content-Length: {len(body)}", "", body])).encode())
answer = b""
while piece := client.recv(65536):
    answer += piece
sys.stdout.buffer.write(answer)
"""


class Called(Guarded):
    """An agent whose socket is called as a user of this host."""

    def by(self, user: str, method: str, path: str, **headers: str) -> tuple[int, dict[str, object]]:
        own = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        request = [user, self.socket, method, path, own, "{}" if method == "POST" else ""]
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", AS], input=json.dumps(request).encode(), capture_output=True, check=False
        )
        if done.returncode:
            raise PermissionError(done.stderr.decode())
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        if b"chunked" in head.lower():
            body = body.partition(b"\r\n")[2].rpartition(b"\r\n0\r\n")[0]
        return int(head.split()[1]), json.loads(body)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter."""
    with TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def started(folder: Path, tokens: str = "", api: str = "") -> Called:
    """An agent with a unix socket open to all, so that only the agent's rules apply."""
    file = write_tokens(folder / "tokens.toml", f"{THREE}{tokens}")
    config = f'[agent]\nnode = "{NODE}"\n[api]\ntokens = "{file}"\n{api}'
    return Called(folder, config=config, unix=True).start()


def mode_of(agent: AgentProcess) -> int:
    assert agent.socket is not None
    return stat.S_IMODE(os.lstat(agent.socket).st_mode)


OPEN = 'socket_mode = "0666"\n'


def test_local_user_is_authenticated_by_the_socket(folder: Path) -> None:
    agent = started(folder, f'[unix."{USER}"]\nkinds = ["{PING}"]\n', OPEN)
    try:
        status, answer = agent.by(USER, "POST", f"{PREFIX}/schedule/{PING}", From="root@example.com")
        assert status == 200, answer
        agent.token = DBA_TOKEN
        action = agent.await_final(str(answer["id"]))["action"]
        assert action["requester"] == "CLI"
        (listed,) = agent.get("/api/3/stacks/default/actions").json["response"]
        assert (listed["user"], listed["started_via"]) == (f"{USER}@{NODE}", "cli")
        status, answer = agent.by(USER, "POST", f"{PREFIX}/schedule/{SUCCESS}")
        assert (status, answer["variant"]) == (403, "Forbidden")
        assert f"{USER}@{NODE} may not schedule or cancel {SUCCESS}" in str(answer["error"])
    finally:
        agent.close()


def test_local_user_missing_from_the_file_is_refused(folder: Path) -> None:
    agent = started(folder, f'[unix."{USER}"]\nkinds = ["*"]\n', OPEN)
    try:
        for user in ("nobody", "root"):
            status, answer = agent.by(user, "GET", f"{PREFIX}/queue")
            assert (status, answer["variant"]) == (401, "Unauthenticated")
            assert f'[unix."{user}"]' in str(answer["error"])
        status, _ = agent.by("nobody", "GET", f"{PREFIX}/queue", Authorization=f"Bearer {DBA_TOKEN}")
        assert status == 200
        status, _ = agent.by(USER, "GET", f"{PREFIX}/queue", Authorization="Bearer wrong")
        assert status == 401
    finally:
        agent.close()


def test_token_takes_precedence_over_the_local_user(folder: Path) -> None:
    agent = started(folder, f'[unix."{USER}"]\nkinds = ["*"]\n', OPEN)
    try:
        status, answer = agent.by(USER, "POST", f"{PREFIX}/schedule/{PING}", Authorization=f"Bearer {DBA_TOKEN}")
        assert status == 200
        agent.token = DBA_TOKEN
        assert agent.await_final(str(answer["id"]))["action"]["requester"] == "API"
    finally:
        agent.close()


def test_permissions_of_a_group_apply_to_its_users_and_change_at_once(folder: Path) -> None:
    group = grp.getgrgid(pwd.getpwnam(USER).pw_gid).gr_name
    agent = started(folder, f'[unix."@{group}"]\nread_only = true\n[unix."@{GROUP}"]\nkinds = ["*"]\n', OPEN)
    try:
        assert agent.by(USER, "GET", f"{PREFIX}/queue")[0] == 200
        assert agent.by(USER, "POST", f"{PREFIX}/schedule/{PING}")[0] == 403
        write_tokens(folder / "tokens.toml", f'{THREE}[unix."@{group}"]\nkinds = ["{PING}"]\n')
        assert agent.by(USER, "POST", f"{PREFIX}/schedule/{PING}")[0] == 200
        write_tokens(folder / "tokens.toml", THREE)
        assert agent.by(USER, "GET", f"{PREFIX}/queue")[0] == 401
    finally:
        agent.close()


def test_local_user_is_not_authenticated_on_a_port(folder: Path) -> None:
    file = write_tokens(folder / "tokens.toml", f'{THREE}[unix."root"]\nkinds = ["*"]\n')
    agent = Guarded(folder, config=f'[api]\ntokens = "{file}"\n')
    try:
        agent.start()
        assert_refused(agent.get(f"{PREFIX}/queue"), 401, "Unauthenticated")
    finally:
        agent.close()


# The socket itself


def test_socket_is_open_to_its_owner_and_group_only(folder: Path) -> None:
    agent = started(folder, '[unix."nobody"]\nkinds = ["*"]\n')
    try:
        assert mode_of(agent) == 0o660
        with pytest.raises(PermissionError):
            agent.by("nobody", "GET", f"{PREFIX}/queue")
    finally:
        agent.close()


def test_mode_and_group_of_the_socket_are_configurable_and_reloadable(folder: Path) -> None:
    agent = started(folder, '[unix."games"]\nkinds = ["*"]\n', f'socket_group = "{GROUP}"\n')
    try:
        assert agent.socket is not None
        assert (mode_of(agent), os.stat(agent.socket).st_gid) == (0o660, grp.getgrnam(GROUP).gr_gid)
        assert agent.by("games", "GET", f"{PREFIX}/queue")[0] == 200
        with pytest.raises(PermissionError):
            agent.by("nobody", "GET", f"{PREFIX}/queue")
        file = folder / "agent.toml"
        file.write_text(file.read_text() + 'socket_mode = "0600"\n')
        agent.reload()
        assert mode_of(agent) == 0o600
    finally:
        agent.close()


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_umask_changes_nothing(folder: Path, umask: int) -> None:
    agent = Called(folder, unix=True)
    before = os.umask(umask)
    try:
        agent.start()
    finally:
        os.umask(before)
    try:
        assert mode_of(agent) == 0o660
    finally:
        agent.close()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('socket_mode = "rw"', "api.socket_mode: expected the permissions of a file, such as"),
        ("socket_mode = 660", "api.socket_mode: expected the permissions of a file"),
        (
            'socket_group = "no-such-group"',
            "api.socket_group: this host has no group no-such-group: run groupadd no-such-group",
        ),
    ],
)
def test_invalid_socket_options_are_refused(tmp_path: Path, line: str, message: str) -> None:
    assert message in started_in_vain(tmp_path, f"[api]\n{line}\n")


def test_folder_where_another_user_could_replace_the_socket_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    message = started_in_vain(tmp_path, "", AGENT_BIND=f"unix:{folder}/agent.sock")
    assert f"api.bind: {folder}: users other than its owner may write it (mode 0777)" in message


def test_systemd_socket_with_mode_0666_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o666)
        os.chown(path, 65534, -1)
        message = refused(tmp_path, handed=listener, AGENT_BIND=f"unix:{path}")
    assert "is open to more users than api.socket_mode and api.socket_group permit (mode 0666)" in message
    assert message.endswith("set SocketMode=0660 in the socket unit")
