"""A repository served by a real sshd: keys, known hosts, and the messages of failures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config import validators
from agent.config.mistakes import Mistake
from tests.agent_process import AgentProcess
from tests.kinds.configuring import toml
from tests.kinds.engines import done, failure
from tests.kinds.wires import perform
from tests.servers.process import run
from tests.servers.shop import Origin
from tests.servers.sshd import SshServer, new_key, public

REFUSED = "root@127.0.0.1: Permission denied (publickey)"
BAD_KEYS = ("wrong", "none", "broken", "open", "unended", "crlf")
VERIFICATION = "Host key verification failed"


@pytest.fixture(scope="module")
def ssh(module_dir: Path) -> Iterator[SshServer]:
    with SshServer(module_dir / "ssh") as server:
        yield server


@pytest.fixture(scope="module")
def origin(module_dir: Path) -> Origin:
    made = Origin(module_dir)
    made.commit({"version": "one"})
    return made


@pytest.fixture(scope="module")
def others(module_dir: Path, ssh: SshServer) -> Path:
    """A folder with wrong keys and known hosts, and with valid ones of unusual names."""
    folder = module_dir / "the others'; touch owned"
    folder.mkdir()
    shutil.copy(ssh.key, folder / "key")
    shutil.copy(ssh.known, folder / "known_hosts")
    wrong = new_key(folder / "wrong")
    (folder / "changed").write_text(ssh.known.read_text().split()[0] + " " + public(wrong))
    (folder / "empty").touch()
    (folder / "broken").write_text("no key at all\n")
    (folder / "broken").chmod(0o600)
    for name, content in (
        ("unended", ssh.key.read_bytes()[:-1]),
        ("crlf", ssh.key.read_bytes().replace(b"\n", b"\r\n")),
    ):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    (folder / "open").write_bytes(ssh.key.read_bytes())
    (folder / "open").chmod(0o644)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "correct-horse", "-f", folder / "locked"])
    (folder / "locked.pub").rename(folder / "locked.public")
    with ssh.authorized.open("a") as authorized:
        authorized.write((folder / "locked.public").read_text())
    return folder


@pytest.fixture(scope="module")
def agent(module_dir: Path, ssh: SshServer, origin: Origin, others: Path) -> Iterator[AgentProcess]:
    """An agent with one application for each valid and invalid configuration."""
    ways: dict[str, dict[str, Any]] = {name: {"ssh_key": others / name} for name in BAD_KEYS}
    ways |= {
        "good": {}, "odd": {"ssh_key": others / "key", "known_hosts": others / "known_hosts"},
        "locked": {"ssh_key": others / "locked"}, "gone": {"repository": ssh.url(Path("/no/such.git"))},
        "unknown": {"known_hosts": others / "empty"}, "changed": {"known_hosts": others / "changed"},
        "stranger": {"known_hosts": None},  # no port of this machine is a known host
    }  # fmt: skip
    applications = {}
    for name, way in ways.items():
        application = {"repository": ssh.url(origin.path), "path": module_dir / f"srv-{name}"} | ssh.options | way
        applications[name] = {option: str(value) for option, value in application.items() if value is not None}
    agent = AgentProcess(module_dir, config=toml({"applications": applications}))
    yield agent.start()
    agent.close()


@pytest.mark.parametrize("name", ["good", "odd"])
def test_deploy_over_ssh_with_key_and_known_host_works(name: str, agent: AgentProcess, origin: Origin) -> None:
    wanted = origin.commit({"version": name})
    assert done(agent, "deploy", {"application": name})["git_hash"] == wanted
    again = perform(agent, "async actions", "deploy", application=name)
    assert again["finished_success"] and again["finished_result"]["previous_git_hash"] == wanted
    assert (agent.directory / f"srv-{name}/current/version").read_text() == name
    assert not list(agent.directory.rglob("owned"))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("wrong", REFUSED),
        ("locked", REFUSED),
        ("none", f"Warning: Identity file {{others}}/none not accessible: No such file or directory; {REFUSED}"),
        ("broken", f'Load key "{{others}}/broken": error in libcrypto; {REFUSED}'),
        (
            "unended",
            f'Load key "{{others}}/unended": error in libcrypto; {REFUSED}; '
            "the last line of {others}/unended has no line end: add one",
        ),
        (
            "crlf",
            f'Load key "{{others}}/crlf": error in libcrypto; {REFUSED}; '
            "the lines of {others}/crlf end with CRLF: they must end with LF",
        ),
        ("open", f'Load key "{{others}}/open": bad permissions; {REFUSED}'),
        (
            "unknown",
            f"No ED25519 host key is known for {{host}} and you have requested strict checking; {VERIFICATION}",
        ),
        ("stranger", f"{VERIFICATION}: ssh does not know this host"),
        ("changed", f"Host key for {{host}} has changed and you have requested strict checking; {VERIFICATION}"),
        ("gone", "fatal: '/no/such.git' does not appear to be a git repository"),
    ],
)
def test_a_failure_of_ssh_is_reported_in_one_sentence_without_a_prompt(
    name: str, why: str, agent: AgentProcess, ssh: SshServer, origin: Origin, others: Path
) -> None:
    repository = ssh.url(Path("/no/such.git") if name == "gone" else origin.path)
    why = why.format(others=others, host=f"[127.0.0.1]:{ssh.port}")
    message = f"git cannot fetch main of {repository}: {why}; `current` was not switched"
    assert failure(agent, "deploy", {"application": name}) == message


def test_private_keys_are_in_no_answer_log_or_file(agent: AgentProcess, ssh: SshServer, others: Path) -> None:
    done(agent, "deploy", {"application": "good"})
    failure(agent, "deploy", {"application": "broken"})
    answers = json.dumps([agent.info(each["id"]) for each in agent.finished()])
    files = [file for file in agent.directory.glob("agent.*") if file.is_file()]
    files += [file for file in Path(f"{agent.db}.jobs").rglob("*") if file.is_file()]
    kept = answers.encode() + b"".join(file.read_bytes() for file in files)
    assert str(ssh.key).encode() in kept
    for key in (ssh.key, others / "wrong", others / "locked"):
        for line in key.read_bytes().splitlines()[1:-1]:
            assert line not in kept, key


@pytest.mark.parametrize("path", ["known_hosts", "/etc/%h", "/etc/${HOME}", '/etc/"', "credential:known"])
def test_known_hosts_path_that_ssh_cannot_use_is_refused(path: str) -> None:
    with pytest.raises(Mistake, match="an absolute path"):
        validators.known_hosts(path)
