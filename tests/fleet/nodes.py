"""Three booted nodes on a bridge, reached by ssh and HTTPS; the role `agent` installs the package on them."""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.agent_process import CHECKOUT
from tests.ansible.controller import Controller, Outcome
from tests.kinds.configuring import toml
from tests.servers import reached_by_ssh
from tests.servers.bridge import Bridge
from tests.servers.node import REBOOT_ASKED, Node
from tests.servers.process import run

NAMES = ("db-1", "db-2", "db-3")
PORT = 8000


class Nodes:
    """`by_ssh` works on the hosts as root; `by_https` calls the agents from the controller."""

    def __init__(self, directory: Path, bridge: Bridge, nodes: Mapping[str, Node]) -> None:
        self.directory, self.bridge, self.nodes = directory, bridge, nodes
        self.key, self.token = directory / "key", secrets.token_urlsafe(32)
        self.certificate, self.certificate_key = self._certificate()
        (token_file := directory / "token").write_text(self.token)
        ssh = {name: reached_by_ssh.variables(bridge, name, self.key) for name in NAMES}
        self.by_ssh = Controller(directory / "ssh", {}, hosts=ssh)
        self.by_https = Controller(directory / "https", {}, hosts={
            name: {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "agent_connection": {
                    "url": f"https://{bridge.members[name]}:{PORT}",
                    "token_file": str(token_file),
                    "ca_file": str(self.certificate),
                    "answer_timeout": 5,
                    "patience": 120,
                },
            }
            for name in NAMES
        })  # fmt: skip

    def install(self, package: Path, configs: Mapping[str, Any], *options: str, **more: Any) -> Outcome:
        """Run the role on all hosts; `configs` is agent_config of each."""
        return self._book("role", self.role_variables(package, configs) | more, *options)

    def start_agents(self, venv: Path, configs: Mapping[str, Any], user: str, secrets: Mapping[str, str]) -> None:
        """Start the agents from a virtualenv of this machine, without the role, which takes a minute."""
        tls = {"certificate": "/etc/agent/server.pem", "key": "/etc/agent/server.key"}
        own = {"tokens": "/etc/agent/tokens.toml", "tls": tls}
        for name, node in self.nodes.items():
            node.run("ln", "-s", str(venv), "/opt/agent")
            node.run("ln", "-s", "/opt/agent/bin/agentctl", "/usr/bin/agentctl")
            document = configs[name] | {"api": configs[name]["api"] | own}
            node.write("/etc/agent/agent.toml", toml(document))
            node.write("/etc/agent/server.pem", self.certificate.read_text())
            private = {
                "server.key": self.certificate_key.read_text(),
                "tokens.toml": toml({f'"{name}"': each for name, each in self._identities().items()}),
            } | dict(secrets)
            for file, text in private.items():
                node.write(f"/etc/agent/{file}", text, 0o600)
                node.run("chown", f"{user}:root", f"/etc/agent/{file}")
            node.write("/etc/systemd/system/agent.service", (CHECKOUT / "systemd/agent.service").read_text())
            node.write("/etc/systemd/system/agent.service.d/user.conf", f"[Service]\nUser={user}\nGroup={user}\n")
            done = node.run("agentctl", "polkit", "--user", user, "--write")
            assert done.returncode == 0, done.stderr
            node.systemctl("daemon-reload")
            node.systemctl("enable", "--now", "--no-block", "agent")
        for node in self.nodes.values():
            done = node.run("systemctl", "start", "agent", timeout=120)
            assert done.returncode == 0, node.run("journalctl", "--no-pager", "-u", "agent").stdout

    def role_variables(self, package: Path, configs: Mapping[str, Any]) -> dict[str, Any]:
        """The variables of the role; each host finds its own configuration by its name."""
        return {
            "agent_package": str(package),
            "configs": dict(configs),
            "agent_config": "{{ configs[inventory_hostname] }}",
            "agent_tls_certificate": str(self.certificate),
            "agent_tls_key": str(self.certificate_key),
            "agent_tokens": self._identities(),
        }

    def _identities(self) -> dict[str, Any]:
        identity = {"kinds": ["*"], "permissions": ["approve", "audit"]}
        hashed = hashlib.sha256(self.token.encode()).hexdigest()
        return {"unix": {"root": identity}, "ansible@example.com": identity | {"sha256": hashed}}

    def api(self) -> dict[str, Any]:
        """`[api]` of the agents."""
        return {
            "bind": ["unix:/run/agent/agent.sock", f"0.0.0.0:{PORT}"],
            "allowed_hosts": list(self.bridge.members.values()),
        }

    def agentctl(self, name: str, *words: str) -> Any:
        """The JSON output of agentctl on that node."""
        done = self.nodes[name].run("agentctl", *words, "-o", "json", timeout=300)
        assert done.returncode == 0, (name, words, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def done(self, name: str) -> list[str]:
        """The kinds of the actions that succeeded there, oldest first."""
        items = self.agentctl(name, "finished")
        return [each["kind"] for each in reversed(items) if each["outcome"] == "done"]

    def roles(self) -> dict[str, str]:
        """The roles of the datastores."""
        return {name: self.agentctl(name, "datastore")["role"] for name in NAMES}

    @contextmanager
    def firmware(self) -> Iterator[list[str]]:
        """Boot again each node that has requested a reboot; returns their names."""
        rebooted: list[str] = []
        over = threading.Event()

        def watch(name: str, node: Node) -> None:
            while not over.wait(0.1):
                if node.ended_with() == REBOOT_ASKED:
                    node.boot_after_reboot(120)
                    rebooted.append(name)

        threads = [threading.Thread(target=watch, args=each, daemon=True) for each in self.nodes.items()]
        for thread in threads:
            thread.start()
        try:
            yield rebooted
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _book(self, name: str, variables: Mapping[str, Any], *options: str) -> Outcome:
        book = self.directory / f"{name}.yml"
        task = {"name": "Install", "ansible.builtin.include_role": {"name": "datastore.agent.agent"}}
        book.write_text(json.dumps([{"name": "All", "hosts": "datastores", "tasks": [task]}]))
        return self.by_ssh.run(str(book), *options, **variables)

    def _certificate(self) -> tuple[Path, Path]:
        certificate, key = self.directory / "server.pem", self.directory / "server.key"
        names = ",".join(f"IP:{address}" for address in self.bridge.members.values())
        run([
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=fleet",
            "-addext", f"subjectAltName={names}",
        ])  # fmt: skip
        return certificate, key


@contextmanager
def booted(directory: Path) -> Iterator[Nodes]:
    """Three nodes. Meanwhile the caller is in the network namespace of the bridge."""
    with ExitStack() as stack:
        bridge = stack.enter_context(Bridge())
        nodes = {name: stack.enter_context(_node(bridge, name, directory)) for name in NAMES}
        stack.enter_context(bridge.inside())
        yield Nodes(directory, bridge, nodes)


def _node(bridge: Bridge, name: str, directory: Path) -> Node:
    return reached_by_ssh.node(bridge, name, directory / "key")
