"""`agentctl doctor` finds each planted fault and names its repair."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from agent.auth import token_file, tokens
from agent.cli.doctor import state
from agent.store.migrate import migrations
from tests.agent_process import CHECKOUT, AgentProcess
from tests.cli.calling import Ended, call
from tests.servers.process import free_port
from tests.servers.redis import RedisServer
from tests.trust.certificates import Authority

NOBODY = 65534
Plant = Callable[[Path], str]
"""Makes a fault in a folder and returns the configuration."""


def examined(folder: Path, text: str) -> Ended:
    file = folder / "agent.toml"
    file.write_text(text if "db =" in text else f'[agent]\ndb = "{folder}/agent.db"\n{text}')
    return call(None, "doctor", "--faults", str(file))


def test_host_without_a_fault_passes(tmp_path: Path) -> None:
    bind = f'[api]\nbind = "127.0.0.1:{free_port()}"\n'
    ended = examined(tmp_path, bind)
    assert (ended.status, ended.stdout) == (0, ""), ended.stdout
    assert ended.stderr == "all 6 checks passed\n"
    shown = call(None, "doctor", str(tmp_path / "agent.toml")).stdout
    assert f"ok     database: {tmp_path}/agent.db is made at the first start\n" in shown


def mistake(folder: Path) -> str:
    return "[actions]\nqueue_limit = 0\n"


def typo_in_timeouts(folder: Path) -> str:
    return "[actions]\ntimeouts = { deplyo = 60 }\n"


def no_state_folder(folder: Path) -> str:
    return f'[agent]\ndb = "{folder}/state/agent.db"\n'


def damaged_database(folder: Path) -> str:
    (folder / "agent.db").write_bytes(b"no database at all " * 500)
    return ""


def newer_database(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "agent.db")) as connection:
        connection.execute(f"PRAGMA user_version = {migrations()[-1].number + 1}")
    return ""


def open_database(folder: Path) -> str:
    (folder / "agent.db").touch()
    (folder / "agent.db").chmod(0o666)
    return ""


def address_of_another_host(folder: Path) -> str:
    return tokens_of(folder, 90.0) + 'bind = "192.0.2.1:8000"\n'


def no_socket_folder(folder: Path) -> str:
    return f'[api]\nbind = "unix:{folder}/run/agent.sock"\n'


def no_socket_group(folder: Path) -> str:
    return '[api]\nsocket_group = "no-such-group"\n'


def certificate_that_ends(folder: Path) -> str:
    certificate, key = Authority(folder).server()
    return f'[api.tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'


def expired_token(folder: Path) -> str:
    return tokens_of(folder, 0.0)


def tokens_of(folder: Path, days: float) -> str:
    file = folder / "tokens.toml"
    token_file.create(file, "you@example.com", ["*"], expires=days * 86400)
    return f'[api]\ntokens = "{file}"\n'


def no_program(folder: Path) -> str:
    return '[external_actions."vacuum.full"]\naction = ["/no/such/vacuum"]\ncheck = ["true"]\n'


def program_that_may_not_be_run(folder: Path) -> str:
    (folder / "reboot").touch(0o644)
    return f'[host]\nreboot = ["{folder}/reboot"]\n'


def no_systemd(folder: Path) -> str:
    return '[service]\nunit = "redis-server.service"\n'


def datastore_that_is_down(folder: Path) -> str:
    return '[datastore]\nkind = "redis"\nurl = "redis://127.0.0.1:1"\n'


def peer_that_is_down(folder: Path) -> str:
    return datastore_that_is_down(folder) + '[datastore.peers.other]\nurl = "redis://127.0.0.1:2"\n'


def password_that_is_missing(folder: Path) -> str:
    return datastore_that_is_down(folder) + f'password_file = "{folder}/password"\n'


def cache_that_is_down(folder: Path) -> str:
    return '[caches.page]\nkind = "memcached"\nurl = "memcached://127.0.0.1:1"\n'


def no_cache_folder(folder: Path) -> str:
    return f'[caches.page]\nkind = "folder"\npath = "{folder}/cache"\n'


def engine_that_is_down(folder: Path) -> str:
    return f'[containers]\nengine = "unix://{folder}/docker.sock"\n'


FAULTS: list[tuple[Plant, str]] = [
    (mistake, ": actions.queue_limit: expected a positive integer, got 0: correct it"),
    (typo_in_timeouts, "FAULT  configuration: actions.timeouts: no kind is called deplyo; the closest is deploy"),
    (no_state_folder, "FAULT  agent.db: there is no folder {0}/state: run install -d -o "),
    (damaged_database, "cannot be read: file is not a database: restore it, or set agent.db to another file"),
    (newer_database, " of a newer agent, this one knows "),
    (open_database, "FAULT  trust: agent.db: {0}/agent.db: users other than its owner may write it (mode 0666): run"),
    (address_of_another_host, "192.0.2.1:8000: Cannot assign requested address: set api.bind to an address of"),
    (no_socket_folder, "FAULT  api.bind: there is no folder {0}/run for agent.sock: run install -d {0}/run"),
    (no_socket_group, "api.socket_group: this host has no group no-such-group: run groupadd no-such-group"),
    (certificate_that_ends, "FAULT  api.tls.certificate: {0}/"),
    (expired_token, "FAULT  api.tokens: you@example.com has expired: run agentctl token rotate you@example.com"),
    (no_program, "external_actions.vacuum.full.action: there is no program /no/such/vacuum: install it, or"),
    (program_that_may_not_be_run, "FAULT  host.reboot: {0}/reboot may not be run: run chmod a+x {0}/reboot"),
    (datastore_that_is_down, "127.0.0.1:1: start it, or correct datastore.url and its password_file"),
    (peer_that_is_down, "FAULT  datastore.peers.other: "),
    (password_that_is_missing, "/password cannot be read: No such file or directory: let root read it, with mode 0600"),
    (cache_that_is_down, "caches.page: nothing answers at memcached://127.0.0.1:1: Connection refused: start it, or"),
    (no_cache_folder, "FAULT  caches.page.path: there is no folder {0}/cache: run install -d -o "),
    (engine_that_is_down, "docker.sock: No such file or directory: start it, or correct containers.engine"),
]  # fmt: skip


@pytest.fixture(scope="module")
def other_program() -> Iterator[int]:
    """The port of a program that speaks HTTP and is no agent."""
    with subprocess.Popen([sys.executable, "-c", OTHER_PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


OTHER_PROGRAM = """
import http.server
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.mark.parametrize(("plant", "found"), FAULTS, ids=lambda each: getattr(each, "__name__", ""))
def test_each_fault_is_found_with_its_repair(tmp_path: Path, plant: Plant, found: str) -> None:
    ended = examined(tmp_path, plant(tmp_path))
    assert ended.status == 1
    assert found.format(tmp_path) in ended.stdout, ended.stdout + ended.stderr


def test_a_port_of_another_program_is_found(tmp_path: Path, other_program: int) -> None:
    ended = examined(tmp_path, f'[api]\nbind = "127.0.0.1:{other_program}"\n')
    fault = f"another program listens on 127.0.0.1:{other_program}: end it, or set api.bind to another port"
    assert ended.stdout == f"FAULT  api.bind: {fault}\n"


def test_a_running_agent_is_no_fault(tmp_path: Path, shared_agent: AgentProcess) -> None:
    ended = examined(tmp_path, f'[api]\nbind = "127.0.0.1:{shared_agent.port}"\n')
    assert (ended.status, ended.stdout) == (0, "")


def test_facts_that_a_datastore_never_has_are_no_fault(tmp_path: Path, redis_server: RedisServer) -> None:
    bind = f'[api]\nbind = "127.0.0.1:{free_port()}"\n'
    ended = examined(tmp_path, f'{bind}[datastore]\nkind = "redis"\nurl = "{redis_server.url}"\n')
    assert (ended.status, ended.stdout) == (0, "")
    checked = call(None, "config", "check", "--strict", str(tmp_path / "agent.toml"))
    assert (checked.status, checked.stderr) == (0, "")


def test_mistakes_in_the_configuration_skip_the_other_checks_with_a_message(tmp_path: Path) -> None:
    ended = examined(tmp_path, mistake(tmp_path))
    assert ended.stderr.startswith("the other checks were skipped: correct the configuration, then run doctor again\n")


def test_too_little_disk_space_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LEAST_ROOM", shutil.disk_usage(tmp_path).total * 2)
    assert "remove files, or lower actions.prune_keep" in examined(tmp_path, "").stdout


def test_expiring_token_beside_a_longer_valid_one_is_no_fault(tmp_path: Path) -> None:
    config = tokens_of(tmp_path, 400.0)
    file = tmp_path / "tokens.toml"
    token_file.rotate(file, "you@example.com", None, overlap=86400.0)
    assert "api.tokens" not in examined(tmp_path, config).stdout
    token_file.rotate(file, "you@example.com", token_ids(file)[-1], expires=86400.0)
    assert "you@example.com expires in 1 days: run agentctl token rotate" in examined(tmp_path, config).stdout


def token_ids(file: Path) -> list[str]:
    found, _ = tokens.read(file)
    return [each.id for each in found.by_email["you@example.com"].tokens]


def test_findings_are_available_as_json(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(f'[agent]\ndb = "{tmp_path}/none/agent.db"\n[api]\nbind = "127.0.0.1:{free_port()}"\n')
    found = json.loads(call(None, "-o", "json", "doctor", str(file)).stdout)
    (fault,) = [each for each in found if each["fault"]]
    assert fault["subject"] == "agent.db"
    assert len(found) > 1


# As the agent's user


def by_any_user(*words: str, user: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run agentctl by a Python that every user can run."""
    path = os.pathsep.join((str(CHECKOUT), sysconfig.get_path("purelib")))
    return subprocess.run(
        ["/usr/bin/python3", "-B", "-m", "agent.cli", *words],
        cwd="/",
        env={"PYTHONPATH": path, "PATH": os.environ["PATH"], "AGENT_CONTEXTS": "/nonexistent"},
        user=user,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """The folder of an agent that is not root's."""
    with TemporaryDirectory() as parent:
        os.chmod(parent, 0o755)
        folder = Path(parent, "state")
        folder.mkdir(0o700)
        os.chown(folder, NOBODY, NOBODY)
        yield folder


def test_root_checks_with_the_rights_of_the_agents_user(unprivileged: Path) -> None:
    secret = unprivileged / "password"
    secret.write_text("battery-staple")
    secret.chmod(0o600)
    cache = unprivileged.parent / "cache"
    cache.mkdir(0o755)
    file = unprivileged / "agent.toml"
    file.write_text(
        f'[agent]\ndb = "{unprivileged}/agent.db"\n[api]\nbind = "127.0.0.1:80"\n'
        f'[datastore]\nkind = "redis"\nurl = "redis://127.0.0.1:1"\npassword_file = "{secret}"\n'
        f'[caches.page]\nkind = "folder"\npath = "{cache}"\n'
    )
    ended = by_any_user("doctor", str(file))
    assert ended.returncode == 1, ended.stderr
    assert (
        f"FAULT  datastore.password_file: {secret} cannot be read: Permission denied: let nobody read it"
        in ended.stdout
    )
    assert f"FAULT  caches.page.path: nobody may not write in {cache}: run chown nobody {cache}" in ended.stdout
    assert "staple" not in ended.stdout + ended.stderr


def test_user_who_may_not_connect_gets_the_reason(unprivileged: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(unprivileged.parent / "agent.sock"))
        listening.listen()
        os.chmod(unprivileged.parent / "agent.sock", 0o600)
        url = f"unix:{unprivileged.parent}/agent.sock"
        ended = by_any_user("--url", url, "queue", user=NOBODY)
    reason = "permission denied: your user must be in the group of the socket (api.socket_group)"
    assert (ended.returncode, ended.stderr) == (4, f"{url}: {reason}\n")


def test_a_list_of_revoked_certificates_that_ended_is_found(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.server()
    authority.client("you@example.com")
    crl = authority.revoke(tmp_path / "clients.crl", "you@example.com", left=timedelta(hours=-1))
    ended = examined(
        tmp_path,
        f'[api.tls]\ncertificate = "{certificate}"\nkey = "{key}"\nclients_ca = "{authority.ca}"\ncrl = "{crl}"\n',
    )
    assert f"FAULT  api.tls.crl: {crl} has expired: publish a new list" in ended.stdout
