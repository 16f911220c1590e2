"""Checks of rolling runs over a primary and two replicas under continuous client load."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.ansible.controller import Outcome
from tests.fleet.clients import Clients
from tests.fleet.nodes import NAMES, Nodes
from tests.fleet.servers import PASSWORD, SECRET, Server, config_of
from tests.servers.process import await_that

RESTART = "replicante.service.restart"
PATIENCE = 600


def over(make: Callable[[], Server]) -> Callable[[Nodes, Path, Path], None]:
    """A part of the command."""

    def run(nodes: Nodes, package: Path, newer: Path) -> None:
        Rolling(nodes, make()).run(package)

    return run


class Rolling:
    """Each method is one check, and leaves three healthy servers."""

    def __init__(self, nodes: Nodes, server: Server) -> None:
        self.nodes, self.server = nodes, server
        self.addresses = nodes.bridge.members

    def run(self, package: Path) -> None:
        """Raises `AssertionError` for every difference."""
        self.set_up(package)
        print(f"roles: {self.nodes.roles()}", flush=True)
        self.check_mode_changes_nothing()
        self.failed_replica_leaves_the_primary_untouched()
        self.killed_run_continues_without_lost_writes()
        self.run_waits_for_a_cut_link()
        self.run_waits_for_a_reboot()
        self.failover_between_steps_is_noticed()

    def set_up(self, package: Path) -> None:
        """A primary and two replicas, each with its agent, which the role installs."""
        configs = self._started()
        secrets = {SECRET: PASSWORD}
        installed = self.nodes.install(package, configs, agent_user=self.server.user, agent_secrets=secrets)
        assert installed.status == 0, installed.text
        self._await_in_step()

    def set_up_from(self, venv: Path) -> None:
        """Like `set_up` but without the role, which is faster."""
        self.nodes.start_agents(venv, self._started(), self.server.user, {SECRET: PASSWORD})
        self._await_in_step()

    def _started(self) -> dict[str, Any]:
        """Start the servers; returns the configurations of their agents."""
        self.server.prepare(self.nodes.nodes, self.addresses)
        for node in self.nodes.nodes.values():
            node.systemctl("add-wants", "multi-user.target", self.server.unit)
        return {name: config_of(name, self.server, self.addresses, self.nodes.api()) for name in NAMES}

    def check_mode_changes_nothing(self) -> None:
        checked = self._play("rolling_restart", "--check", "--diff")
        assert checked.status == 0, checked.text
        assert [self.nodes.agentctl(name, "finished") for name in NAMES] == [[], [], []]
        print("--check changes nothing", flush=True)

    def failed_replica_leaves_the_primary_untouched(self) -> None:
        broken, before = self.nodes.nodes["db-2"], self._starts()
        self.server.break_start(broken)
        stopped = self._play("rolling_restart", rolling_settle=5)
        assert stopped.status != 0 and "stopped at db-2" in stopped.text, stopped.text
        self.server.mend_start(broken)
        after = self._starts()
        assert (after["db-1"], after["db-3"]) == (before["db-1"], before["db-3"])
        self._await_in_step()
        print("a replica that does not come back stops the run before the primary", flush=True)

    def killed_run_continues_without_lost_writes(self) -> None:
        before = self._starts()
        with Clients(self.server, self.addresses) as clients:
            self._until_writes(clients)
            with self.nodes.by_https.start("datastore.agent.rolling_restart", run_id="killed") as playbook:
                await_that(lambda: self.nodes.done("db-2")[-1:] == [RESTART], PATIENCE, "the first host is done")
                os.killpg(playbook.pid, signal.SIGKILL)
            outcome = self._play("rolling_restart", run_id="killed")
            assert outcome.status == 0, outcome.text
            self._until_writes(clients)
        self._report(clients)
        after = self._starts()
        assert all(after[name] != before[name] for name in NAMES), (before, after)
        done = {name: self.nodes.done(name) for name in NAMES}
        promoted = next(name for name, role in self.nodes.roles().items() if role == "primary")
        (follower,) = {"db-2", "db-3"} - {promoted}  # the replica with the lag when the run chose
        assert done == {
            "db-1": ["replication.demote", RESTART],
            promoted: [RESTART, "promote_slave_db"],
            follower: [RESTART, "replication.follow"],
        }, done
        self._await_in_step()
        for name in NAMES:
            written = set(clients.acknowledged)
            await_that(lambda: written <= self.server.numbers(self.nodes.nodes[name]), 60, f"{name} has every write")  # noqa: B023
        print("a controller that was killed continues: each server was restarted once", flush=True)

    def run_waits_for_a_cut_link(self) -> None:
        """db-1 is a replica now, the first one."""
        with self.nodes.by_https.start("datastore.agent.rolling_restart", run_id="cut") as playbook:
            await_that(lambda: self._began("db-1", "cut"), PATIENCE, "db-1 restarts")
            self.nodes.bridge.cut("db-1")
            await_that(lambda: not self._runs("db-1"), PATIENCE, "it ends while nobody reaches it")
            self.nodes.bridge.mend("db-1")
            text, _ = playbook.communicate(timeout=1800)
        assert playbook.returncode == 0, text
        assert [self.nodes.done(name).count(RESTART) for name in NAMES] == [2, 2, 2], text
        self._await_in_step()
        print("a link that is cut while an action runs is waited for", flush=True)

    def run_waits_for_a_reboot(self) -> None:
        with self.nodes.firmware() as rebooted, Clients(self.server, self.addresses) as clients:
            self._until_writes(clients)
            outcome = self._play("rolling_restart", kind="stack_reboot")
            assert outcome.status == 0, outcome.text
            self._until_writes(clients)
        assert sorted(rebooted) == list(NAMES), rebooted
        self._report(clients)
        print(f"stack_reboot of all hosts, in the order {', '.join(rebooted)}", flush=True)

    def failover_between_steps_is_noticed(self) -> None:
        roles = self.nodes.roles()
        replicas = [name for name in NAMES if roles[name] == "replica"]
        primary = next(name for name in NAMES if roles[name] == "primary")
        before = self.nodes.done(primary)
        run = self.nodes.by_https.start("datastore.agent.rolling_restart", run_id="failover", rolling_settle=5)
        with run as playbook:
            await_that(lambda: self._began(replicas[0], "failover"), PATIENCE, "it has come to the first replica")
            self.nodes.agentctl(replicas[1], "schedule", "--wait", "--yes", "promote_slave_db", "force=true")
            text, _ = playbook.communicate(timeout=1800)
        assert playbook.returncode != 0 and "expected replica" in text, text
        assert self.nodes.done(primary) == before, text
        print("a failover between the steps stops the run before the primary", flush=True)

    def _play(self, name: str, *options: str, **variables: object) -> Outcome:
        return self.nodes.by_https.play(name, *options, **variables)

    def _starts(self) -> dict[str, str]:
        """The identity of the start of the server's unit; each start has another one."""
        return {name: node.show(self.server.unit, "InvocationID") for name, node in self.nodes.nodes.items()}

    def _runs(self, name: str) -> bool:
        return bool(self.nodes.agentctl(name, "queue"))

    def _began(self, name: str, run_id: str) -> bool:
        return any(f"run {run_id}" in (each["reason"] or "") for each in self.nodes.agentctl(name, "list"))

    def _await_in_step(self) -> None:
        """Exactly one primary, and replicas that stream."""
        expected = [("primary", None), ("replica", True), ("replica", True)]

        def states() -> list[tuple[str, bool | None]]:
            facts = [self.nodes.agentctl(name, "datastore") for name in NAMES]
            return sorted((each["role"], each["streaming"]) for each in facts)

        await_that(lambda: states() == expected, PATIENCE, "a primary and two replicas")

    def _until_writes(self, clients: Clients) -> None:
        before = len(clients.acknowledged)
        await_that(lambda: len(clients.acknowledged) > before + 50, PATIENCE, "writes")

    def _report(self, clients: Clients) -> None:
        roles = self.nodes.roles()
        primary = next(name for name in NAMES if roles[name] == "primary")
        lost = set(clients.acknowledged) - self.server.numbers(self.nodes.nodes[primary])
        switchover = self._switchover()
        print(
            f"{len(clients.acknowledged)} writes acknowledged, {len(lost)} lost, {clients.longest_gap:.2f} s without a "
            f"primary, by a switchover of {switchover:.0f} s; {clients.reads} reads, {clients.reads_failed_on_all} "
            "failed on all servers",
            flush=True,
        )
        assert not lost and clients.reads_failed_on_all == 0
        assert clients.sessions == 2, "writes were interrupted by anything but one switchover"

    def _switchover(self) -> float:
        """Seconds from the start of the newest demotion to the end of the newest promotion."""
        actions = [each for name in NAMES for each in self.nodes.agentctl(name, "list")]

        def newest(kind: str, moment: str) -> datetime:
            return max(datetime.fromisoformat(each[moment]) for each in actions if each["kind"] == kind)

        return (newest("promote_slave_db", "finished_ts") - newest("replication.demote", "started_ts")).total_seconds()
