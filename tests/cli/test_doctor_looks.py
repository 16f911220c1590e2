"""Faults of doctor that need another host, user or server: each check is called directly."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent import config, datastores
from agent.cli.doctor import access, programs, servers, state, units
from agent.cli.doctor.finding import Finding
from agent.config import Settings
from agent.datastores.status import DatastoreStatus
from agent.tools import polkit
from tests.cli.calling import call
from tests.kinds.configuring import toml
from tests.trust.certificates import Authority

NOBODY = 65534
UNIT = "redis-server.service"
REDIS = {"datastore": {"kind": "redis", "url": "redis://127.0.0.1:1"}}
SERVICE = {"service": {"supervisor": "systemd", "unit": UNIT}}


def faults(look: Callable[[Settings], Iterator[Finding]], document: dict[str, object]) -> list[str]:
    return [each.fault for each in look(config.parse(document)) if each.fault]


def nothing_may_be_written(path: object, mode: int) -> bool:
    return mode == os.F_OK


# Addresses


def test_socket_in_a_folder_of_another_user_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", nothing_may_be_written)
    found = faults(access.addresses, {"api": {"bind": f"unix:{tmp_path}/agent.sock"}})
    assert found == [f"the agent's user may not make {tmp_path}/agent.sock: add RuntimeDirectory= to its unit"]


def test_other_type_of_file_at_the_socket_path_is_found(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(f"{tmp_path}/agent.sock")
        [found] = faults(access.addresses, {"api": {"bind": f"unix:{tmp_path}/agent.sock"}})
    assert found.endswith(f": run rm {tmp_path}/agent.sock if it is not a socket of the agent")


def test_missing_list_of_revoked_certificates_is_found(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.server()
    tls = {"certificate": certificate, "key": key, "clients_ca": authority.ca, "crl": tmp_path / "clients.crl"}
    found = faults(access.revocations, {"api": {"tls": {name: str(path) for name, path in tls.items()}}})
    gone = "cannot be read: No such file or directory: no caller is accepted without it"
    assert found == [f"{tmp_path}/clients.crl {gone}"]


def test_tokens_file_without_tokens_is_found(tmp_path: Path) -> None:
    (tmp_path / "tokens.toml").touch(0o600)
    found = faults(access.identities, {"api": {"tokens": f"{tmp_path}/tokens.toml"}})
    assert found == [f"{tmp_path}/tokens.toml is empty: run agentctl token create"]


# The configuration and the state


def test_missing_configuration_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "SEARCHED", ())
    monkeypatch.chdir(tmp_path)
    shown = call(None, "doctor", "--faults").stdout
    assert "FAULT  configuration: there is no file: run agentctl config show > /etc/agent/agent.toml\n" in shown


def test_file_in_place_of_a_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    document = {
        "agent": {"db": f"{tmp_path}/agent.db"},
        "caches": {"page": {"kind": "folder", "path": f"{tmp_path}/cache"}},
    }
    assert faults(state.folder, document) == [f"{tmp_path}/cache is no folder: name one in the configuration"]


def test_database_that_violates_its_constraints_is_found(tmp_path: Path) -> None:
    db = tmp_path / "agent.db"
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute("INSERT INTO t VALUES (NULL)")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = 'CREATE TABLE t (a NOT NULL)'")
    found = faults(state.database, {"agent": {"db": str(db)}})
    assert found == [f"{db} is damaged: NULL value in t.a: restore it from a copy"]


# Programs and units


def test_doctor_reports_a_missing_program_of_a_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = faults(programs.tools, {"applications": {"shop": {"repository": "/srv/shop.git", "path": "/srv/shop"}}})
    assert found == ["git is not installed, and deploy needs it: install it"]


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that prints what is in this file."""
    program, says = tmp_path / "systemctl", tmp_path / "says"
    program.write_text(f"#!/bin/sh\ncat {says}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return says


@pytest.mark.parametrize(
    ("says", "fault"),
    [
        ("not-found", f"systemd has no unit {UNIT}: correct service.unit, or install it"),
        ("masked", f"the unit {UNIT} is masked: run systemctl unmask {UNIT}"),
    ],
)
def test_unit_that_cannot_be_managed_is_found(
    systemctl: Path, monkeypatch: pytest.MonkeyPatch, says: str, fault: str
) -> None:
    systemctl.write_text(says)
    monkeypatch.setattr(units, "Path", lambda path: systemctl.parent)  # systemd runs here
    assert faults(units.exist, {**SERVICE}) == [fault]


def test_host_without_systemd_is_found(systemctl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "Path", lambda path: systemctl)  # no folder
    found = faults(units.exist, {**SERVICE})
    assert found == [f"systemd does not run here: {UNIT} cannot be managed: use commands instead"]


def test_missing_or_old_polkit_rule_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    monkeypatch.setattr(units, "RULES", tmp_path)
    run = "run agentctl polkit --user nobody --write"
    assert faults(units.rule, {**SERVICE}) == [f"there is no rule for the agent in {tmp_path}: {run}"]
    (tmp_path / "50-agent.rules").write_text("// an earlier configuration\n")
    assert faults(units.rule, {**SERVICE}) == [f"the rule in {tmp_path} does not match the configuration: {run}"]
    (tmp_path / "50-agent.rules").write_text(polkit.rule(config.parse({**SERVICE}), "nobody", "a test"))
    assert faults(units.rule, {**SERVICE}) == []


# Servers


class Server:
    """A datastore with this status, or one that cannot be queried."""

    absent_facts = {"timeline": "Redis has none"}

    def __init__(self, status: DatastoreStatus | ImportError) -> None:
        self._status = status

    def status(self) -> DatastoreStatus:
        if isinstance(self._status, ImportError):
            raise self._status
        return self._status


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (
            DatastoreStatus(True, role="primary", unknown={"lag": "NOPERM", "timeline": "none"}),
            "lag is not known: NOPERM: see docs/redis.rst for the rights of the agent",
        ),
        (
            DatastoreStatus(
                True, role="replica", streaming=False, source={"address": "db-2:6379", "state": "connecting"}
            ),
            "the replica does not stream from db-2:6379 (connecting): start its source, or run agentctl plan "
            "resync_slave_db",
        ),
        (
            DatastoreStatus(
                True, role="replica", streaming=False, source={"address": "db-2:5432", "state": "streaming"}
            ),
            "the replica receives from db-2:5432 and does not apply it: its replay is paused or its applier is "
            "stopped: start the applier again",
        ),
        (
            ImportError("libssl.so.3"),
            "its driver cannot be imported: libssl.so.3: install the agent with [redis] again",
        ),
    ],
)
def test_unknown_facts_of_a_datastore_are_found(
    monkeypatch: pytest.MonkeyPatch, status: DatastoreStatus | ImportError, fault: str
) -> None:
    monkeypatch.setattr(datastores, "of", lambda settings: Server(status))
    assert faults(servers.datastore, {**REDIS}) == [fault]


def test_container_engine_of_another_group_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docker.sock").touch()
    monkeypatch.setattr(os, "access", nothing_may_be_written)
    [found] = faults(servers.engine, {"containers": {"engine": f"unix://{tmp_path}/docker.sock"}})
    assert found.startswith(f"the agent's user may not use {tmp_path}/docker.sock: add the agent's user to the group")


def test_line_of_a_fault_names_its_option(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(toml({"agent": {"db": f"{tmp_path}/none/agent.db"}}))
    shown = call(None, "doctor", "--faults", str(file)).stdout
    assert f"FAULT  agent.db: there is no folder {tmp_path}/none: run install -d -o root -m 0750 " in shown
