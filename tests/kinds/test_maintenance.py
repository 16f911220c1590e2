"""maintenance_mode: a world-readable flag, commands in order, and kinds held while the flag exists."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from agent import config
from agent.kinds.base import NotOffered
from agent.kinds.maintenance_mode import MaintenanceMode, MaintenanceResult
from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.conformance.shapes import SUCCESS, moment
from tests.kinds.configuring import toml
from tests.kinds.wires import Ask, by_command, by_form, by_schedule, refused

KIND = "maintenance_mode"
ON_OFF = [(1, 0), (True, False), ("on", "off"), ("true", "false"), ("1", "0")]

# Writes its arguments into a file, waits while the file `wait` exists, and fails if `fail` exists.
COMMAND = """\
echo $2 >> $1/trace
while [ -e $1/wait ]; do sleep 0.02; done
if [ -e $1/fail ]; then echo the balancer says no >&2; exit 1; fi
"""


class Site:
    """The folder of the commands, with the flag and the agent's configuration."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.flag = directory / "flag"
        self.script = directory / "balancer"
        self.script.write_text(f"#!/bin/sh\n{COMMAND}")
        self.script.chmod(0o755)

    def command(self, word: str) -> list[str]:
        return [str(self.script), str(self.directory), word]

    def config(self, **options: Any) -> str:
        maintenance = {
            "flag": str(self.flag),
            "on": [self.command("drain"), self.command("stop")],
            "off": [self.command("start"), self.command("undrain")],
        }
        return toml({"maintenance": maintenance | options})

    def trace(self) -> list[str]:
        """The commands run so far, in order."""
        path = self.directory / "trace"
        return path.read_text().split() if path.exists() else []

    def await_trace(self, words: list[str]) -> None:
        """Wait until exactly these commands have started."""
        eventually(lambda: self.trace() == words, f"{words} were run")

    def status(self) -> Any:
        return json.loads(self.flag.read_text())

    def clean(self) -> None:
        for name in ("trace", "wait", "fail", "flag"):
            (self.directory / name).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def agent(shared_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    started = AgentProcess(tmp_path_factory.mktemp("agent"), config=shared_site.config()).start()
    yield started
    started.close()


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    yield shared_site
    shared_site.clean()


@pytest.mark.parametrize("ask", [by_schedule, by_command, by_form])
def test_on_and_off_run_their_commands_once_and_a_repetition_runs_none(
    ask: Ask, agent: AgentProcess, site: Site
) -> None:
    on = ask(agent, KIND, value=1)
    assert on["state"] == "DONE" and MaintenanceResult().validate(on["state_payload"]) == {}
    assert on["state_payload"] | {"since": None} == {
        "maintenance": True, "since": None, "flag": str(site.flag), "again": [],
    }  # fmt: skip
    moment(on["state_payload"]["since"])
    assert site.trace() == ["drain", "stop"]
    again = ask(agent, KIND, value=1)
    assert (again["state"], again["state_payload"]) == ("DONE", on["state_payload"])
    off = ask(agent, KIND, value=0)
    assert off["state_payload"] == {"maintenance": False, "since": None, "flag": str(site.flag), "again": []}
    assert site.trace() == ["drain", "stop", "start", "undrain"] and not site.flag.exists()
    assert ask(agent, KIND, value=0)["state_payload"] == off["state_payload"]
    assert len(site.trace()) == 4


@pytest.mark.parametrize("ask", [by_schedule, by_form])
@pytest.mark.parametrize("on, off", ON_OFF)
def test_every_spelling_of_on_and_off_is_accepted(on: Any, off: Any, ask: Ask, agent: AgentProcess, site: Site) -> None:
    assert ask(agent, KIND, value=on)["state_payload"]["maintenance"] is True
    assert ask(agent, KIND, value=off)["state_payload"]["maintenance"] is False
    assert len(site.trace()) == 4


@pytest.mark.parametrize("value", [2, -1, "yes", "", None, [], {}, 0.5, [1]])
def test_value_other_than_on_or_off_is_refused(value: Any, agent: AgentProcess) -> None:
    assert list(refused(agent, KIND, value=value)) == ["value"]


def test_maintenance_mode_without_value_is_refused(agent: AgentProcess) -> None:
    assert refused(agent, KIND) == {"value": ["Missing data for required field."]}


def test_flag_is_world_readable_with_user_and_time(agent: AgentProcess, site: Site) -> None:
    action_id = agent.schedule(KIND, {"value": 1}, headers={"From": "ops@example.com"})
    since = agent.await_final(action_id)["action"]["state_payload"]["since"]
    assert site.status() == {"state": "on", "since": since, "by": "ops@example.com", "action": action_id}
    assert stat.S_IMODE(site.flag.stat().st_mode) == 0o644


def test_flag_exists_while_the_commands_run_with_its_state(agent: AgentProcess, site: Site) -> None:
    for value, state, ran in ((1, "turning on", ["drain"]), (0, "turning off", ["drain", "stop", "start"])):
        (site.directory / "wait").touch()
        action_id = agent.schedule(KIND, {"value": value})
        site.await_trace(ran)
        assert site.status()["state"] == state
        (site.directory / "wait").unlink()
        assert agent.await_final(action_id)["action"]["state"] == "DONE"
    assert not site.flag.exists()


def test_a_flag_file_that_another_program_made_counts_as_on(agent: AgentProcess, site: Site) -> None:
    for content in ("", "we are back soon", "[]", '{"state": 1, "since": "\\ud800"}', "[" * 3000):
        site.flag.write_text(content)
        os.utime(site.flag, (0, 0))
        on = by_schedule(agent, KIND, value=1)["state_payload"]
        assert (on["maintenance"], on["since"]) == (True, "1970-01-01T00:00:00Z")
    assert site.trace() == []
    assert by_schedule(agent, KIND, value=0)["state"] == "DONE"
    assert site.trace() == ["start", "undrain"] and not site.flag.exists()


@pytest.mark.parametrize(
    "value, state, words", [(1, "turning on", ["drain", "stop"]), (0, "turning off", ["start", "undrain"])]
)
def test_failed_command_is_named_and_a_repetition_runs_all_commands_again(
    value: int, state: str, words: list[str], agent: AgentProcess, site: Site
) -> None:
    if not value:
        site.flag.touch()
        os.utime(site.flag, (0, 0))
    (site.directory / "fail").touch()
    for ask in (by_schedule, by_command):
        action = ask(agent, KIND, value=value)
        assert action["state"] == "FAILED"
        text = action["state_payload"]["message"]
        assert (
            text.startswith(f"{site.script} {site.directory} {words[0]} failed")
            and "with exit status 1: the balancer says no; " in text
        )
        assert text.endswith(f"maintenance mode is {state}") and site.status()["state"] == state
        assert value or site.status()["since"] == "1970-01-01T00:00:00Z"
    (site.directory / "fail").unlink()
    assert by_schedule(agent, KIND, value=value)["state"] == "DONE"
    assert site.trace() == [words[0], words[0], *words]


def test_half_enabled_maintenance_can_be_turned_off(agent: AgentProcess, site: Site) -> None:
    (site.directory / "fail").touch()
    assert by_schedule(agent, KIND, value=1)["state"] == "FAILED"
    (site.directory / "fail").unlink()
    assert by_schedule(agent, KIND, value=0)["state"] == "DONE"
    assert site.trace() == ["drain", "start", "undrain"] and not site.flag.exists()


def test_cancelled_maintenance_action_reports_its_progress(agent: AgentProcess, site: Site) -> None:
    (site.directory / "wait").touch()
    action_id = agent.schedule(KIND, {"value": 1})
    site.await_trace(["drain"])
    agent.cancel(action_id)
    payload = agent.await_final(action_id)["action"]["state_payload"]
    assert payload["cancelled"] and payload["payload"]["message"].endswith("maintenance mode is turning on")
    assert site.status()["state"] == "turning on"


@pytest.mark.parametrize(
    "kill, value, words", [("kill_all", 1, ["drain", "stop"]), ("kill_worker", 0, ["start", "undrain"])]
)
def test_interrupted_command_is_run_again_and_named(
    kill: str, value: int, words: list[str], agent: AgentProcess, site: Site
) -> None:
    if not value:
        site.flag.touch()
    (site.directory / "wait").touch()
    action_id = agent.schedule(KIND, {"value": value})
    site.await_trace(words[:1])
    getattr(agent, kill)()
    if kill == "kill_all":
        agent.start()
    site.await_trace([words[0], words[0]])
    (site.directory / "wait").unlink()
    action = agent.await_final(action_id)["action"]
    assert action["state"] == "DONE" and action["state_payload"]["again"] == [1], action
    assert site.trace() == [words[0], *words] and site.flag.exists() == bool(value)


def test_maintenance_mode_stays_on_after_a_restart(agent: AgentProcess, site: Site) -> None:
    since = by_schedule(agent, KIND, value=1)["state_payload"]["since"]
    agent.kill_all()
    agent.start()
    again = by_schedule(agent, KIND, value=1)["state_payload"]
    assert (again["maintenance"], again["since"]) == (True, since) and len(site.trace()) == 2


def test_flag_is_beside_the_database_by_default(start_agent: StartAgent) -> None:
    agent = start_agent(config="[maintenance]\n")
    for ask in (by_schedule, by_command):
        assert ask(agent, KIND, value=1)["state_payload"]["flag"] == str(agent.directory / "maintenance")
        assert (agent.directory / "maintenance").exists()
        ask(agent, KIND, value=0)
        assert not (agent.directory / "maintenance").exists()


def test_flag_in_a_volatile_folder_causes_a_warning(start_agent: StartAgent) -> None:
    with TemporaryDirectory(dir="/dev/shm") as memory:
        for directory, warned in (memory, True), ("/usr", False):
            agent = start_agent(config=toml({"maintenance": {"flag": f"{directory}/flag"}}))
            warning = f"WARNING maintenance mode ends with a reboot: its flag {directory}/flag is in a file system"
            assert (warning in agent.log_text()) == warned


@pytest.mark.parametrize("where", ["missing", "read-only"])
def test_unwritable_flag_fails_the_action_before_any_command(
    where: str, start_agent: StartAgent, tmp_path: Path
) -> None:
    site = Site(tmp_path)
    folder = tmp_path / "flags"
    agent = start_agent(config=site.config(flag=str(folder / "flag")))
    why = "No such file or directory"
    if where == "read-only":
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)], check=True)
        why = "Read-only file system"
    try:
        for ask in (by_schedule, by_command):
            action = ask(agent, KIND, value=1)
            text = f"the flag {folder}/flag cannot be changed: {why}; maintenance mode is off"
            assert (action["state"], action["state_payload"]["message"]) == ("FAILED", text)
        assert site.trace() == []
    finally:
        if where == "read-only":
            subprocess.run(["umount", str(folder)], check=True)


def test_missing_command_of_maintenance_is_named(start_agent: StartAgent, tmp_path: Path) -> None:
    agent = start_agent(config=Site(tmp_path).config(on=[["/nowhere/balancer", "drain"]]))
    for ask in (by_schedule, by_command):
        text = ask(agent, KIND, value=1)["state_payload"]["message"]
        assert "/nowhere/balancer" in text and "was not found; maintenance mode is turning on" in text


def test_maintenance_mode_without_its_table_is_not_offered(start_agent: StartAgent) -> None:
    with pytest.raises(NotOffered, match=r"set \[maintenance\] in the configuration"):
        MaintenanceMode(config.parse({}))
    answer = start_agent().post_schedule(KIND, {"value": 1})
    assert answer.status == 404 and "set [maintenance] in the configuration" in answer.json["error"]


def test_maintenance_mode_acts_on_the_stack(agent: AgentProcess, site: Site) -> None:
    by_command(agent, KIND, value=0)
    by_schedule(agent, SUCCESS)
    actions = agent.get("/api/3/stacks/default/actions?per_page=100").json["response"]
    newest = [each for each in actions if each["action"] == KIND][-1]
    assert newest["resource_type"] == "Stack"
    assert newest["finished_message"] == "maintenance mode is off already"
