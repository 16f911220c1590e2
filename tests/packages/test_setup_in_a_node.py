"""From an empty host to an action on a real server: package or wheel, `agentctl setup`, the action, the removal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.node import CHECKOUT, Node
from tests.servers.postgresql import newest_debian
from tests.servers.process import await_that

VERSION = newest_debian().parts[-2]
POSTGRESQL = f"postgresql@{VERSION}-main.service"
UNITS = {"postgresql": POSTGRESQL, "mariadb": "mariadb.service", "redis": "redis-server.service"}
CREATED = {
    "postgresql": ("runuser", "-u", "postgres", "--", "psql", "-XAtc", "SELECT datname FROM pg_database"),
    "mariadb": ("mariadb", "-Ne", "SHOW DATABASES"),
    "redis": ("redis-cli", "ACL", "USERS"),
}
OWN_FILES = ("/etc/systemd/system", "/etc/polkit-1/rules.d", "/etc/dbus-1/system.d", "/etc/sysusers.d", "/etc/agent")


class Host:
    """A node without the checkout; its commands must succeed."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def ok(self, *argv: str, input: str | None = None) -> str:
        done = self.node.run(*argv, timeout=400, input=input)
        assert done.returncode == 0, (argv, done.stdout[-3000:], done.stderr[-3000:])
        return done.stdout + done.stderr

    def files(self) -> str:
        """Every file that setup could have made, with its content."""
        present = [folder for folder in OWN_FILES if self.node.run("test", "-d", folder).returncode == 0]
        return self.ok("find", *present, "-type", "f", "-name", "*agent*", "-exec", "sha256sum", "{}", "+")

    def user_of_agent(self) -> str:
        return self.ok("ps", "-o", "user=", "-p", self.node.show("agent", "MainPID")).strip()


class Wheels:
    """The wheels that pip needs on a host without a network; the download runs until needed."""

    def __init__(self, packages: Path, folder: Path) -> None:
        (wheel,) = packages.glob("*.whl")
        self.folder, self.wanted = folder, f"/packages/{wheel.name}[postgresql,systemd]"
        wanted = self.wanted.replace("/packages", str(packages))
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
        self._download = subprocess.Popen([*pip, "--dest", folder, wanted], stderr=subprocess.PIPE, text=True)

    def await_all(self) -> None:
        _, output = self._download.communicate(timeout=400)
        assert self._download.returncode == 0, output

    def close(self) -> None:
        self._download.terminate()
        self._download.communicate(timeout=60)


@pytest.fixture(scope="module")
def wheels(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wheels]:
    found = Wheels(packages, tmp_path_factory.mktemp("wheels"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def host(
    packages: Path, wheels: Wheels, start_node: Callable[..., Node], tmp_path_factory: pytest.TempPathFactory
) -> Host:
    """A host with three running servers, without a network and without the checkout."""
    empty = tmp_path_factory.mktemp("empty")
    binds = [f"{empty}:{CHECKOUT}", f"{packages}:/packages", f"{wheels.folder}:/wheels"]
    node = start_node("packaged", binds=binds)
    host = Host(node)
    assert node.run("ls", f"{CHECKOUT}/agent").returncode != 0
    if node.run("pg_lsclusters", "-h", VERSION, "main").returncode or not node.run("pg_lsclusters", "-h").stdout:
        host.ok("pg_createcluster", VERSION, "main")
    node.systemctl("start", *UNITS.values())
    await_that(lambda: all(node.run(*each).returncode == 0 for each in CREATED.values()), 120, "three servers answer")
    return host


@pytest.fixture(scope="module")
def installed(host: Host, packages: Path) -> Iterator[Host]:
    """The package, installed as an operator does; another test purges it."""
    (deb,) = packages.glob("*.deb")
    host.ok("apt-get", "install", "--yes", f"/packages/{deb.name}")
    yield host


def test_service_does_not_run_before_setup_and_setup_refuses_several_servers(installed: Host) -> None:
    assert installed.node.run("systemctl", "is-active", "agent").stdout == "inactive\n"
    assert installed.node.run("systemctl", "is-enabled", "agent").stdout == "disabled\n"
    before = installed.files()
    refused = installed.node.run("agentctl", "setup")
    assert refused.returncode == 2 and all(unit in refused.stderr for unit in UNITS.values()), refused.stderr
    assert "would create the user agent" in installed.ok("agentctl", "setup", "--datastore", "redis", "--dry-run")
    assert installed.files() == before and "agent" not in installed.ok(*CREATED["redis"]).split()


@pytest.mark.parametrize(
    ("datastore", "user", "words"),
    [
        ("postgresql", "postgres", ["database_create", "name=shop"]),
        ("mariadb", "agent", ["database_create", "name=shop"]),
        ("redis", "agent", ["database_user_create", "name=shop", "password=@-", 'databases:=["shop"]']),
    ],
)
def test_setup_runs_an_action_and_remove_undoes_it(
    installed: Host, datastore: str, user: str, words: list[str]
) -> None:
    node, unit = installed.node, UNITS[datastore]
    before, pid = installed.files(), node.show(unit, "MainPID")
    output = installed.ok("agentctl", "setup", "--datastore", datastore)
    assert "done: 1 of 1 pongs" in output and "FAULT" not in output, output
    assert installed.user_of_agent() == user
    again = installed.files()
    assert "nothing to change" in installed.ok("agentctl", "setup", "--datastore", datastore)
    assert installed.files() == again

    installed.ok("agentctl", "schedule", "--wait", *words, input="correct-horse-battery\n")
    assert "shop" in installed.ok(*CREATED[datastore]).split()
    installed.ok("agentctl", "schedule", "--wait", "--yes", "replicante.service.restart")
    assert node.show(unit, "MainPID") != pid
    refused_another = node.run("agentctl", "setup", "--datastore", datastore, "--user", "nobody")
    assert refused_another.returncode == 2 and "agentctl setup --remove" in refused_another.stderr

    installed.ok("agentctl", "setup", "--remove")
    assert installed.files() == before
    assert node.run("systemctl", "is-active", "agent").stdout == "inactive\n"
    accounts = {"mariadb": ("mariadb", "-Ne", "SELECT user FROM mysql.user"), "redis": CREATED["redis"]}
    assert datastore not in accounts or "agent" not in installed.ok(*accounts[datastore]).split()


def test_setup_with_fewer_rights_and_tls_works(installed: Host) -> None:
    """As `agent`, PostgreSQL's own user keeps its files; the polkit rule follows the configuration."""
    node = installed.node
    installed.ok("agentctl", "setup", "--datastore", "postgresql", "--user", "agent", "--tls")
    assert installed.user_of_agent() == "agent"
    superuser = "SELECT rolsuper FROM pg_roles WHERE rolname = 'agent'"
    assert installed.ok(*CREATED["postgresql"][:-1], superuser).strip() == "f"
    installed.ok("agentctl", "schedule", "--wait", "database_create", "name=of_agent")
    installed.ok("agentctl", "schedule", "--wait", "database_delete", "name=of_agent", "--yes")
    away = (
        "--url",
        "https://127.0.0.1:8000",
        "--ca",
        "/etc/agent/server.pem",
        "--token-file",
        "/etc/agent/admin.token",
    )
    assert "admin@packaged" in installed.ok("agentctl", *away, "--token-file", "/etc/agent/admin.token", "whoami")

    misnamed = node.run("agentctl", "--url", "https://localhost:8000", "--ca", "/etc/agent/server.pem", "queue")
    assert "TLS failed: Hostname mismatch, certificate is not valid for 'localhost'" in misnamed.stderr
    bundle = "cd /root && agentctl support-bundle"  # the agent's user may not write there
    installed.ok("tar", "-tzf", f"/root/{installed.ok('sh', '-c', bundle).split()[0]}")

    rule = "/etc/polkit-1/rules.d/50-agent.rules"
    assert "listed.service" not in node.read(rule)
    node.write("/etc/agent/agent.toml", node.read("/etc/agent/agent.toml") + '[host]\nservices = ["listed.service"]\n')
    await_that(lambda: "listed.service" in node.read(rule), 120, "agent-polkit.path makes the rule again")
    edited = node.read("/etc/agent/agent.toml")
    assert "nothing to change" in node.run("agentctl", "setup", "--datastore", "postgresql", "--user", "agent").stderr
    assert node.read("/etc/agent/agent.toml") == edited
    kept = installed.ok("agentctl", "setup", "--remove")
    assert "kept /etc/agent/agent.toml: it was changed since" in kept and "dropped the role agent" in kept


def test_upgrade_restarts_the_agent_and_purge_keeps_its_data(installed: Host, packages: Path) -> None:
    node = installed.node
    node.run("rm", "/etc/agent/agent.toml")
    installed.ok("agentctl", "setup", "--datastore", "redis")
    (deb,) = packages.glob("*.deb")
    pid, before = node.show("agent", "MainPID"), installed.files()
    installed.ok("apt-get", "install", "--yes", "--reinstall", f"/packages/{deb.name}")
    assert node.show("agent", "ActiveState") == "active" and node.show("agent", "MainPID") != pid
    assert installed.files() == before

    # In a folder where the agent's user may read nothing.
    copy = "/var/lib/agent/copy.db"
    restore = f"agentctl db backup {copy} && systemctl stop agent && agentctl db restore {copy}"
    installed.ok("sh", "-c", f"cd /root && {restore} && systemctl start agent && rm /var/lib/agent/copy.db*")
    assert node.run("agentctl", "info", "@last").returncode == 0
    for words in ("config check", "token create a@b --kinds none", "token revoke a@b"):
        installed.ok("sh", "-c", f"cd /root && agentctl {words}")

    data = installed.ok("find", "/var/lib/agent", "-name", "agent.db", "-o", "-name", "tokens.toml").split()
    assert sorted(data) == ["/var/lib/agent/agent.db", "/var/lib/agent/tokens.toml"]
    installed.ok("apt-get", "purge", "--yes", "datastore-host-agent")
    assert installed.ok("ls", *data).split() == sorted(data)
    left = installed.ok("find", "/etc", "/opt", "/usr/bin", "/usr/lib/systemd", "/usr/lib/sysusers.d", "/usr/share/doc",
                        "-path", "*agent*").splitlines()  # fmt: skip
    ours = (
        "/etc/agent",
        "/opt/agent",
        "/agentctl",
        "/agent.conf",
        "/agent.service",
        "/agent-",
        "/50-agent",
        "/datastore-host",
    )
    assert [line for line in left if any(name in line for name in ours)] == []
    # As docs/runbook.rst says: a purge without `agentctl setup --remove` leaves the account.
    assert "agent" in installed.ok(*CREATED["redis"]).split()
    installed.ok("redis-cli", "ACL", "DELUSER", "agent")
    installed.ok("redis-cli", "CONFIG", "REWRITE")


def test_setup_from_the_wheel_runs_an_action_and_remove_undoes_it(host: Host, wheels: Wheels) -> None:
    """Three commands, as docs/runbook.rst has them; pip has the folder of the wheels in the place of the index."""
    node = host.node
    assert node.run("test", "-e", "/opt/agent").returncode != 0, "another test has purged the package"
    before, pid = host.files(), node.show(POSTGRESQL, "MainPID")
    wheels.await_all()
    host.ok("/usr/bin/python3", "-m", "venv", "/opt/agent")
    host.ok("/opt/agent/bin/pip", "install", "--quiet", "--no-index", "--find-links=/wheels", wheels.wanted)
    agentctl = "/opt/agent/bin/agentctl"
    output = host.ok(agentctl, "setup", "--datastore", "postgresql")
    assert "done: 1 of 1 pongs" in output and "FAULT" not in output, output
    again = host.files()
    assert "nothing to change" in host.ok(agentctl, "setup", "--datastore", "postgresql")
    assert host.files() == again and host.user_of_agent() == "postgres"
    host.ok(agentctl, "schedule", "--wait", "database_create", "name=of_wheel")
    host.ok(agentctl, "schedule", "--wait", "--yes", "replicante.service.restart")
    assert node.show(POSTGRESQL, "MainPID") != pid
    assert "of_wheel" in host.ok(*CREATED["postgresql"]).split()
    host.ok(agentctl, "setup", "--remove")
    assert host.files() == before
