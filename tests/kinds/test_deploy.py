"""A deploy without a unit: git, the releases, the commands, and the state after every kind of end."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.deployments import phases
from agent.deployments.deployment import Deployment
from agent.deployments.progress import DeployProgress
from agent.errors import ActionNotAvailable
from agent.kinds.base import Done, Failed, Running, StepResult
from agent.kinds.base.registry import discover
from agent.processes.process import Process
from agent.supervisors.systemd import unit as supervised_unit
from agent.util import repeated_reads
from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.kinds.configuring import toml
from tests.kinds.killing import fatal_agent, killed_and_ended
from tests.kinds.performing import perform, step_of
from tests.kinds.wires import WIRES, perform as ask
from tests.servers.leftovers import unmount
from tests.servers.process import run
from tests.servers.shop import Origin
from tests.servers.sshd import SshServer

ACTIONS = "/api/3/stacks/default/actions"
MAIN = "refs/heads/main"


class Shop:
    """An application and where it is deployed, with the agent's state beside it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.origin = Origin(directory)
        self.first = self.origin.commit({"version": "one"})
        self.path = directory / "srv"
        self.deploys = 0

    def document(self, **options: Any) -> dict[str, Any]:
        application = {"repository": str(self.origin.path), "path": str(self.path), "timeout": 20.0} | options
        return {"agent": {"db": str(self.directory / "agent.db")}, "applications": {"shop": application}}

    def deploy(self, args: Any = None, **options: Any) -> StepResult:
        """The end of a deploy performed here, without an agent."""
        kind = discover(config.parse(self.document(**options))).get("deploy")
        self.deploys += 1
        return perform(kind, args=args or {}, action_id=f"a-{self.deploys}", most=1000)[-1]

    def deployed(self, args: Any = None, **options: Any) -> dict[str, Any]:
        """The result of one that must succeed."""
        outcome = self.deploy(args, **options)
        assert isinstance(outcome, Done), outcome
        return dict(outcome.payload)

    def refused(self, args: Any = None, **options: Any) -> str:
        """The message of one that must fail."""
        outcome = self.deploy(args, **options)
        assert isinstance(outcome, Failed), outcome
        assert outcome.message == outcome.payload["message"]
        return outcome.message

    def agent(self, start_agent: StartAgent, **options: Any) -> AgentProcess:
        document = self.document(**options)
        return start_agent(config=toml({"applications": document["applications"]}))

    @property
    def current(self) -> str | None:
        """The one file of the release in use."""
        file = self.path / "current/version"
        return file.read_text() if file.exists() else None

    @property
    def releases(self) -> list[str]:
        return sorted(entry.name for entry in (self.path / "releases").iterdir())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


# A deploy that succeeds


def test_deploys_by_both_apis_switch_the_release(shop: Shop, start_agent: StartAgent) -> None:
    agent = shop.agent(start_agent)
    args = {"git_ref": "main", "deployment_strategy": "rolling"}
    info = agent.await_final(agent.schedule("deploy", args))
    assert info["action"]["state"] == "DONE", info
    first = info["action"]["state_payload"]
    second_hash = shop.origin.commit({"version": "two"})
    answer = agent.post(ACTIONS, json={"command": "deploy"} | args)
    number = answer.json["response"]["id"]
    path = f"{ACTIONS}/{number}"
    action = eventually(
        lambda: found if (found := agent.get(path).json["response"])["finished_at"] else {}, "the end"
    )  # fmt: skip
    assert (action["resource_type"], action["action"], action["finished_success"]) == ("Stack", "deploy", True)
    assert action["metadata"] == args
    release = Path(action["finished_result"]["release"])
    assert action["finished_result"] == {
        "deploy_session": f"deploy-session-{number}", "git_hash": second_hash, "servers_deployed": 1,
        "previous_git_hash": shop.first, "application": "shop", "release": str(release), "services": [],
    }  # fmt: skip
    assert release.samefile(shop.path / "current") and release != Path(first["release"])
    assert first["git_hash"] == shop.first and first["previous_git_hash"] is None
    assert (shop.current, len(shop.releases)) == ("two", 2)


def test_history_has_every_phase_in_order(shop: Shop, start_agent: StartAgent) -> None:
    agent = shop.agent(start_agent, before=[["true"]], after=[["true"]])
    history = agent.await_final(agent.schedule("deploy", {}))["history"]
    payloads = [each["state_payload"] for each in reversed(history) if each["state"] == "RUNNING"]
    phases = [payload["phase"] for payload in payloads if payload]
    assert list(dict.fromkeys(phases)) == ["fetch", "checkout", "before", "switch", "restart", "after", "prune"]
    assert payloads[-1]["git_hash"] == shop.first
    assert payloads[-1]["phases"] == ["fetch", "checkout", "before", "switch", "restart", "after"]


def test_the_commit_in_use_is_deployed_again(shop: Shop) -> None:
    first, second = shop.deployed(), shop.deployed()
    assert second["git_hash"] == first["git_hash"] == second["previous_git_hash"]
    assert first["release"] != second["release"] and len(shop.releases) == 2


def test_the_same_commit_is_deployed_twice_on_both_wires(shop: Shop, start_agent: StartAgent) -> None:
    agent = shop.agent(start_agent)
    done = [ask(agent, wire, "deploy", git_ref=shop.first) for wire in (*WIRES, *WIRES)]
    results = [action["finished_result"] for action in done if action["finished_success"]]
    assert [result["git_hash"] for result in results] == [shop.first] * 4
    assert [result["previous_git_hash"] for result in results] == [None, *[shop.first] * 3]
    releases = [result["release"] for result in results]
    assert len(set(releases)) == 4 and Path(releases[-1]).samefile(shop.path / "current")


def test_files_of_a_release_are_world_readable_and_the_mirror_is_not(shop: Shop) -> None:
    shop.origin.commit({"version": "two", "deep/file": "x"})
    umask = os.umask(0o077)
    try:
        release = Path(shop.deployed(before=[["touch", "made"]])["release"])
    finally:
        os.umask(umask)
    made = [release / name for name in ("version", "deep/file", "made")]
    assert [oct(file.stat().st_mode & 0o777) for file in made] == ["0o644"] * 3
    folders = [shop.path, shop.path / "releases", release, release / "deep"]
    assert [oct(folder.stat().st_mode & 0o777) for folder in folders] == ["0o755"] * 4
    assert oct((shop.path / "repository").stat().st_mode & 0o777) == "0o700"
    assert not (release / ".git").exists()


def test_commands_get_the_documented_environment_and_folder(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD_OF_THE_AGENT", "hidden")
    message = sh("env > env; pwd > pwd")
    first = shop.deployed(before=[message])
    second_hash = shop.origin.commit({"version": "two"})
    second = shop.deployed(after=[message])
    for result, previous in ((first, ""), (second, first["release"])):
        release = Path(result["release"])
        env = dict(line.split("=", 1) for line in (release / "env").read_text().splitlines())
        assert {name: value for name, value in env.items() if name.startswith("AGENT_")} == {
            "AGENT_APPLICATION": "shop", "AGENT_RELEASE": str(release), "AGENT_GIT_HASH": result["git_hash"],
            "AGENT_PREVIOUS_RELEASE": previous,
        }  # fmt: skip
        assert "PASSWORD_OF_THE_AGENT" not in env and "PATH" in env
        assert (release / "pwd").read_text() == f"{release}\n"
    assert second["git_hash"] == second_hash


def test_old_releases_are_removed_except_the_current_and_previous(shop: Shop) -> None:
    results = [shop.deployed(keep=1) for _ in range(3)]
    assert shop.releases == [Path(result["release"]).name for result in results[1:]]


def test_application_without_units_must_pass_its_health_check(shop: Shop, tmp_path: Path) -> None:
    health = sh('test -z "$AGENT_UNIT" && echo x >> ../../tried && test $(wc -l < ../../tried) = 3')
    shop.deployed(health=health, health_timeout=10.0)
    assert (shop.path / "tried").read_text() == "x\n" * 3


# Failures before the switch


def test_missing_ref_changes_nothing(shop: Shop, start_agent: StartAgent) -> None:
    shop.deployed()
    shop.origin.commit({"version": "two"})
    agent = shop.agent(start_agent)
    for wire in WIRES:
        action = ask(agent, wire, "deploy", git_ref="nosuch")
        assert action["finished_success"] is False
        message = f"{shop.origin.path} has no branch, tag or commit nosuch; `current` was not switched"
        assert action["finished_message"] == action["finished_result"]["message"] == message
    assert (shop.current, len(shop.releases)) == ("one", 1)


def test_unreachable_repository_is_reported_with_the_message_of_git(shop: Shop) -> None:
    gone = str(shop.directory / "gone.git")
    assert shop.refused(repository=gone) == (
        f"git cannot fetch main of {gone}: fatal: '{gone}' does not appear to be a git repository; `current` was "
        "not switched"
    )


def test_failed_command_before_leaves_no_release(shop: Shop) -> None:
    shop.deployed()
    shop.origin.commit({"version": "two"})
    failing = sh("echo no room in the oven; exit 3")
    message = shop.refused(before=[["true"], failing, ["touch", str(shop.directory / "later")]])
    assert message == (
        f"{shlex.join(failing)} failed with exit status 3: no room in the oven; `current` was not switched"
    )  # fmt: skip
    assert (shop.current, len(shop.releases)) == ("one", 1)
    assert not (shop.directory / "later").exists()


def test_command_is_ended_after_its_timeout(shop: Shop) -> None:
    assert "took too long and was ended" in shop.refused(before=[["sleep", "60"]], timeout=0.5)


def test_missing_command_is_named(shop: Shop) -> None:
    assert "/no/such/build was not found; `current` was not switched" in shop.refused(before=[["/no/such/build"]])


def test_folder_in_place_of_the_link_is_kept_and_refused(shop: Shop) -> None:
    (shop.path / "current").mkdir(parents=True)
    message = shop.refused()
    assert message == f"{shop.path}/current is no symbolic link, move it away first; `current` was not switched"
    assert shop.releases == []


def test_path_that_cannot_be_created_is_named(shop: Shop) -> None:
    shop.path.write_text("a file")
    assert shop.refused() == f"{shop.path} cannot be made: Not a directory"


def test_full_disk_keeps_the_current_release(shop: Shop, small_disk: Path) -> None:
    shop.path = small_disk / "srv"
    shop.deployed()
    shop.origin.commit({"version": "two", "large": os.urandom(3_000_000)})
    message = shop.refused()
    assert "git cannot check out main" in message and "error: unable to write file large" in message
    assert message.endswith("; `current` was not switched")
    assert (shop.current, len(shop.releases)) == ("one", 1)
    shop.origin.commit({"version": "three"})
    shop.deployed()
    assert shop.current == "three"


@pytest.fixture
def small_disk(server_dir: Path) -> Iterator[Path]:
    disk = server_dir / "disk"
    disk.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", disk])
    yield disk
    unmount(disk)


SYSTEMCTL = """#!/bin/sh
[ -e {0}/killed ] || {{ touch {0}/killed; {1}; }}
echo LoadState=not-found
"""


@pytest.fixture
def by_systemctl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """systemd is called by the program only, which a test replaces."""
    monkeypatch.setattr(supervised_unit, "BOOTED", tmp_path)
    monkeypatch.setattr(supervised_unit, "has_bus", lambda: False)


def put(shop: Shop, monkeypatch: pytest.MonkeyPatch, program: str, script: str) -> None:
    """Replace the program by this script."""
    file = shop.directory / "bin" / program
    file.parent.mkdir()
    file.write_text(script)
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}:{os.environ['PATH']}")


@pytest.mark.usefixtures("by_systemctl")
@pytest.mark.parametrize("end", ["kill -9 $$", "echo 'Transport endpoint is not connected' >&2; exit 1"])
def test_systemctl_that_was_killed_or_disconnected_is_retried(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    put(shop, monkeypatch, "systemctl", SYSTEMCTL.format(shop.directory, end))
    assert shop.refused(services=["web.service"]) == "systemd has no unit web.service; `current` was not switched"
    assert (shop.directory / "killed").exists()


DYING = """#!/bin/sh
case " $* " in *" {word} "*) echo x >> {directory}/died; kill -SEGV $$;; esac
exec {real} "$@"
"""


@pytest.mark.parametrize(("program", "word"), [("git", "cat-file"), ("sync", "-f")])
def test_command_that_is_always_killed_is_run_three_times(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, program: str, word: str
) -> None:
    put(shop, monkeypatch, program, DYING.format(word=word, directory=shop.directory, real=shutil.which(program)))
    message = shop.refused()
    assert message.startswith(program) and message.endswith("was killed by SIGSEGV; `current` was not switched")
    assert (shop.directory / "died").read_text() == "x\n" * 3
    assert shop.current is None and shop.releases == []


# Units that are up at once, with a new invocation at each restart; in a rollback systemctl dies for the first one.
UNITS = """#!/bin/sh
for unit; do :; done
file={0}/$unit
case "$*" in
show*) [ ! -e {0}/back ] || [ "$unit" != one.service ] || kill -SEGV $$
    echo LoadState=loaded; echo ActiveState=active; echo SubState=running; echo MainPID=1
    echo InvocationID=$(cat "$file" 2>/dev/null || echo 0);;
*restart*) echo x$(cat "$file" 2>/dev/null) > "$file";;
esac
"""


@pytest.mark.usefixtures("by_systemctl")
def test_unit_started_by_others_on_the_new_release_is_rolled_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.deployed()
    put(shop, monkeypatch, "systemctl", UNITS.format(shop.directory))
    shop.origin.commit({"version": "two"})
    after = sh(f"echo started > {shop.directory}/two.service; false")
    message = shop.refused(services=["one.service", "two.service"], strategy="none", after=[after])
    assert message.endswith(f"; rolled back to {shop.first}") and shop.current == "one"
    assert not (shop.directory / "one.service").exists(), "it runs the release before"
    assert (shop.directory / "two.service").read_text() == "xstarted\n"


UNTOLD = """#!/bin/sh
case " $* " in *" cat-file "*) echo "fatal: Out of memory" >&2; exit 128;; esac
exec {real} "$@"
"""


def test_failure_of_git_does_not_count_as_overtaken(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    put(shop, monkeypatch, "git", UNTOLD.format(real=shutil.which("git")))
    message = shop.refused({"git_ref": shop.first, "of_ref": MAIN})
    assert message.endswith("fatal: Out of memory; `current` was not switched"), message


@pytest.mark.usefixtures("by_systemctl")
def test_failing_systemctl_of_one_unit_does_not_stop_the_rollback_of_others(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated_reads, "PATIENCE", 0.0)
    shop.deployed()
    put(shop, monkeypatch, "systemctl", UNITS.format(shop.directory))
    shop.origin.commit({"version": "two"})
    after = sh(f"touch {shop.directory}/back; false")
    message = shop.refused(services=["one.service", "two.service"], after=[after])
    assert f"; the rollback to {shop.first} failed too: systemctl show" in message
    assert message.endswith("was killed by SIGSEGV") and shop.current == "one"
    assert (shop.directory / "two.service").read_text() == "xx\n"


# Failures after the switch


def test_failed_command_after_rolls_back(shop: Shop) -> None:
    shop.deployed()
    shop.origin.commit({"version": "two"})
    message = shop.refused(after=[sh("cat version; exit 1")])
    assert message == f"/bin/sh -c 'cat version; exit 1' failed with exit status 1: two; rolled back to {shop.first}"
    assert (shop.current, len(shop.releases)) == ("one", 1)


def test_failed_first_release_reports_that_none_is_before_it(shop: Shop) -> None:
    message = shop.refused(after=[["false"]])
    assert message == "false failed with exit status 1; there is no previous release"
    assert shop.current == "one"


def test_unhealthy_rollback_is_reported(shop: Shop) -> None:
    shop.deployed()
    shop.origin.commit({"version": "two"})
    message = shop.refused(health=sh("cat version; exit 1"), health_timeout=0.1)
    health = "/bin/sh -c 'cat version; exit 1'"
    assert message == (
        f"the application is not healthy within 0.1 s: {health} failed with exit status 1: two; the rollback to "
        f"{shop.first} failed too: the application is not healthy within 0.1 s: {health} failed with exit status 1: one"
    )
    assert (shop.current, len(shop.releases)) == ("one", 2)


def test_unexpected_exception_after_the_switch_rolls_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shop.deployed()
    shop.origin.commit({"version": "two"})

    def mistaken(deploying: Deployment) -> DeployProgress:
        assert shop.current == "two"
        raise IndexError("out of range")

    monkeypatch.setitem(phases.PHASES, "after", mistaken)
    assert shop.refused(after=[["true"]]) == f"IndexError: out of range; rolled back to {shop.first}"
    assert (shop.current, len(shop.releases)) == ("one", 1)
    assert "a-2 deploy raised IndexError at " in caplog.text


# Invalid requests


@pytest.mark.parametrize(
    ("args", "member", "message"),
    [
        ({"application": "shoe"}, "application", "Must be one of: shop, till."),
        ({}, "application", "Must be one of: shop, till."),
        ({"application": "shop", "git_ref": "--upload-pack=touch"}, "git_ref", "Must be a branch, a tag or a commit."),
        ({"application": "shop", "git_ref": "main~1"}, "git_ref", "Must be a branch, a tag or a commit."),
        ({"application": "shop", "of_ref": "main"}, "of_ref", "Must be the whole name of a branch or a tag, such as "),
        ({"application": "shop", "of_ref": MAIN}, "git_ref", "Must be a full commit hash if of_ref is given."),
        (
            {"application": "shop", "of_ref": MAIN, "git_ref": "main"},
            "git_ref",
            "Must be a full commit hash if of_ref",
        ),
        ({"application": "shop", "deployment_strategy": "slowly"}, "deployment_strategy", "Must be one of: rolling, "),
        ({"application": "shop", "force": 1}, "force", "Not a valid boolean."),
        ({"application": "shop", "froce": True}, "froce", "Unknown field."),
    ],
)
def test_invalid_arguments_of_a_deploy_are_refused(two: AgentProcess, args: Any, member: str, message: str) -> None:
    answer = two.post_schedule("deploy", args)
    assert (answer.status, answer.json["variant"]) == (400, "InvalidArgs")
    assert answer.json["details"][member][0].startswith(message)
    answer = two.post(ACTIONS, json={"command": "deploy"} | args)
    assert (answer.status, answer.json["variant"]) == (400, "InvalidArgs")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent with two applications."""
    directory = tmp_path_factory.mktemp("two")
    applications = {}
    for name in ("shop", "till"):
        (directory / name).mkdir()
        origin = Origin(directory / name)
        origin.commit({"version": name})
        applications[name] = {"repository": str(origin.path), "path": str(directory / name / "srv")}
    agent = AgentProcess(directory, config=toml({"applications": applications}))
    yield agent.start()
    agent.close()


def test_two_applications_deploy_independently(two: AgentProcess) -> None:
    actions = [two.schedule("deploy", {"application": name}) for name in ("shop", "till")]
    assert [two.await_final(action)["action"]["state"] for action in actions] == ["DONE", "DONE"]
    for name in ("shop", "till"):
        assert (two.directory / name / "srv/current/version").read_text() == name


def test_deploy_without_an_application_is_not_offered_and_names_the_option() -> None:
    with pytest.raises(ActionNotAvailable, match=r"set \[applications\.NAME\] in the configuration"):
        discover(config.parse({})).get("deploy")


def test_two_applications_with_one_path_are_not_offered() -> None:
    application = {"repository": "/srv/git", "path": "/srv/shop"}
    registry = discover(config.parse({"applications": {"a": application, "b": application}}))
    with pytest.raises(ActionNotAvailable, match="a path of its own"):
        registry.get("deploy")


def test_the_only_application_need_not_be_named_and_the_names_are_described(shop: Shop) -> None:
    kind = discover(config.parse(shop.document())).get("deploy")
    described = kind.args_schema()
    assert "required" not in described and described["properties"]["application"]["enum"] == ["shop"]
    assert json.dumps(described)


# Interruptions


def test_every_step_of_a_deploy_can_be_repeated(shop: Shop) -> None:
    shop.deployed()
    second_hash = shop.origin.commit({"version": "two"})
    counted = [["/bin/sh", "-c", f"echo {number} >> {shop.directory}/ran"] for number in range(4)]
    kind = discover(config.parse(shop.document(before=counted[:2], after=counted[2:], keep=1))).get("deploy")
    outcome: StepResult = Running()
    while isinstance(outcome, Running):
        again = step_of(kind, outcome.payload, action_id="a-2")
        kind.step(again)
        outcome = kind.resume(again)
    assert isinstance(outcome, Done) and outcome.payload["git_hash"] == second_hash
    assert outcome.payload["previous_git_hash"] == shop.first
    assert (shop.directory / "ran").read_text() == "0\n1\n2\n3\n"
    assert (shop.current, len(shop.releases)) == ("two", 2)


HELD = "echo ran >> {0}/count; while [ ! -e {0}/go ]; do sleep 0.05; done"


def held(directory: Path) -> list[str]:
    """A command that records its run and waits for a file."""
    return sh(HELD.format(directory))


def await_held(directory: Path) -> None:
    eventually((directory / "count").exists, "the command runs")


def let_go(directory: Path) -> None:
    (directory / "go").touch()


def test_repositories_with_hashes_of_either_format_are_deployed(shop: Shop, tmp_path: Path) -> None:
    shop.deployed()
    other = tmp_path / "sha256.git"
    made = (
        f"git init --quiet --object-format=sha256 --initial-branch=main {other}; cd {other}; git -c user.name=a "
        "-c user.email=a@example.com commit --quiet --allow-empty --message=one; git rev-parse main"
    )
    wanted = run(["sh", "-ec", made]).strip()
    assert len(wanted) == 64
    assert shop.deployed(repository=str(other))["git_hash"] == wanted
    assert len(shop.deployed()["git_hash"]) == 40


@pytest.mark.parametrize(("phase", "killed"), [("before", "kill_all"), ("after", "kill_worker")])
def test_command_runs_once_despite_a_kill_of_the_agent(
    shop: Shop, start_agent: StartAgent, killed: str, phase: str
) -> None:
    agent = shop.agent(start_agent, **{phase: [held(shop.directory)]})
    action = agent.schedule("deploy", {})
    await_held(shop.directory)
    getattr(agent, killed)()
    if killed == "kill_all":
        agent.start()
    let_go(shop.directory)
    info = agent.await_final(action, timeout=30)
    assert info["action"]["state"] == "DONE", info
    assert (shop.directory / "count").read_text() == "ran\n"
    assert (shop.current, len(shop.releases)) == ("one", 1)


def runners(agent: AgentProcess, phase: str) -> list[int]:
    jobs = Path(f"{agent.db}.jobs")
    return [json.loads(claim.read_text())["runner"]["pid"] for claim in jobs.glob(f"*-{phase}-*/claim")]


def end_runner(agent: AgentProcess, phase: str, number: int) -> None:
    """Kill the runner, or stop its unit, like systemd in a shutdown of the host."""
    runner = Process.of(runners(agent, phase)[0])
    assert runner is not None and runner.signal(number)
    eventually(lambda: not runner.alive, "the end of the command")


ENDS = [("kill_all", signal.SIGKILL), ("stop", signal.SIGTERM)]


@pytest.mark.parametrize(("agent_ends", "number"), ENDS)
def test_lost_command_is_not_run_again(shop: Shop, start_agent: StartAgent, agent_ends: str, number: int) -> None:
    agent = shop.agent(start_agent, before=[held(shop.directory)])
    action = agent.schedule("deploy", {})
    await_held(shop.directory)
    getattr(agent, agent_ends)()
    end_runner(agent, "before", number)
    agent.start()
    payload = agent.await_final(action)["action"]["state_payload"]
    why = {signal.SIGKILL: "its runner was killed", signal.SIGTERM: "the job was ended by another program"}
    assert f" was lost: {why[signal.Signals(number)]}" in payload["message"]
    assert payload["message"].endswith("it may or may not have taken effect; `current` was not switched"), payload
    assert (shop.directory / "count").read_text() == "ran\n"
    assert (shop.current, shop.releases) == (None, [])


SERVE = 'if [ ! -e {0}/go ]; then {1}; fi; eval "$SSH_ORIGINAL_COMMAND"'


@pytest.mark.parametrize(("agent_ends", "number"), [*ENDS, (None, signal.SIGTERM)])
def test_lost_fetch_is_done_again(
    shop: Shop, server_dir: Path, start_agent: StartAgent, agent_ends: str | None, number: int
) -> None:
    with SshServer(server_dir / "ssh") as ssh:
        serve = shop.directory / "serve"
        serve.write_text(SERVE.format(shop.directory, HELD.format(shop.directory)))
        ssh.authorized.write_text(f'command="sh {serve}" {ssh.authorized.read_text()}')
        agent = shop.agent(start_agent, repository=ssh.url(shop.origin.path), **ssh.options)
        action = agent.schedule("deploy", {})
        await_held(shop.directory)
        if agent_ends:
            getattr(agent, agent_ends)()
        end_runner(agent, "fetch", number)
        let_go(shop.directory)
        if agent_ends:
            agent.start()
        info = agent.await_final(action, timeout=30)
    assert info["action"]["state"] == "DONE", info
    assert shop.current == "one"


GIT = """#!/bin/sh
case "$*" in *" read-tree "*) {0};; esac
exec {1} "$@"
"""


@pytest.mark.parametrize("lost", [False, True])
def test_checkout_is_complete_despite_a_kill_of_the_agent(shop: Shop, start_agent: StartAgent, lost: bool) -> None:
    """With git continuing alone, and with git killed too: then the checkout is repeated."""
    shop.deployed()
    second_hash = shop.origin.commit({"version": "two"})
    git = shop.directory / "bin/git"
    git.parent.mkdir()
    git.write_text(GIT.format(HELD.format(shop.directory), shutil.which("git")))
    git.chmod(0o755)
    document = shop.document()
    agent = start_agent(
        config=toml({"applications": document["applications"]}), env={"PATH": f"{git.parent}:{os.environ['PATH']}"}
    )
    action = agent.schedule("deploy", {})
    await_held(shop.directory)
    agent.kill_all()
    if lost:
        os.kill(runners(agent, "checkout")[0], 9)
    let_go(shop.directory)
    agent.start()
    ended = agent.await_final(action, timeout=30)["action"]
    assert (ended["state"], ended["state_payload"]["git_hash"]) == ("DONE", second_hash), ended
    assert (shop.directory / "count").read_text() == "ran\n" * (1 + lost)
    assert (shop.current, len(shop.releases)) == ("two", 2)


@pytest.mark.parametrize(
    "call",
    [
        "1 os:symlink .current",
        "1 os:rename .current",
        "1 agent.util.atomic_files:sync srv')",
        "1 agent.kinds.deploy:Running 'phase': 'restart'",
    ],
)
def test_deploy_killed_around_its_switch_is_switched_once(call: str, shop: Shop, start_agent: StartAgent) -> None:
    """Before the new link is made, before and after it replaces the old one, and after the step."""
    shop.deployed()
    second_hash = shop.origin.commit({"version": "two"})
    document = shop.document(after=[sh(f"echo ran >> {shop.directory}/after")])
    agent = fatal_agent(start_agent, document, call)
    ended = killed_and_ended(agent, "deploy", {})
    assert ended["state"] == "DONE", ended
    result = ended["state_payload"]
    assert (result["git_hash"], result["previous_git_hash"]) == (second_hash, shop.first)
    assert Path(result["release"]).samefile(shop.path / "current")
    assert (shop.current, len(shop.releases)) == ("two", 2)
    assert sorted(entry.name for entry in shop.path.iterdir()) == ["current", "releases", "repository"]
    assert (shop.directory / "after").read_text() == "ran\n"


@pytest.mark.parametrize("call", ["1 os:rename .{release}", "2 os:unlink .page", "1 agent.kinds.deploy:Done git_hash"])
def test_deploy_killed_while_pruning_leaves_no_half_of_a_release(
    call: str, shop: Shop, start_agent: StartAgent
) -> None:
    """Before the oldest release is hidden, when half of it is removed, and after its removal."""
    shop.origin.commit({"version": "one", "a.page": "a", "b.page": "b", "c.page": "c"})
    oldest = Path(shop.deployed()["release"]).name
    shop.origin.commit({"version": "two"})
    kept = Path(shop.deployed()["release"]).name
    shop.origin.commit({"version": "three"})
    agent = fatal_agent(start_agent, shop.document(keep=1), call.format(release=oldest))
    ended = killed_and_ended(agent, "deploy", {})
    assert ended["state"] == "DONE", ended
    assert shop.releases == [kept, Path(ended["state_payload"]["release"]).name]
    assert shop.current == "three"


@pytest.mark.parametrize(
    ("phase", "end", "releases"), [("before", "cancelled", 1), ("after", "cancelled", 2), ("after", "timed_out", 2)]
)
def test_deploy_cancelled_in_a_command_keeps_the_previous_release(
    shop: Shop, start_agent: StartAgent, phase: str, end: str, releases: int
) -> None:
    shop.deployed()
    shop.origin.commit({"version": "two"})
    document = shop.document(**{phase: [held(shop.directory)]})
    limits = {"actions": {"timeouts": {"deploy": 3}}} if end == "timed_out" else {}
    agent = start_agent(config=toml({"applications": document["applications"]} | limits))
    action = agent.schedule("deploy", {})
    await_held(shop.directory)
    assert shop.current == ("one" if phase == "before" else "two")
    if end == "cancelled":
        assert agent.cancel(action).status == 200
    payload = agent.await_final(action)["action"]["state_payload"]
    assert payload[end] is True and payload["payload"]["phase"] == phase
    assert (shop.current, len(shop.releases)) == ("one", releases)
    (runner,) = runners(agent, phase)
    eventually(lambda: not Path(f"/proc/{runner}").exists(), "the end of the command")


def test_deploy_cancelled_while_pruning_stays_deployed(shop: Shop) -> None:
    shop.deployed()
    shop.origin.commit({"version": "two"})
    kind = discover(config.parse(shop.document())).get("deploy")
    outcome: StepResult = Running()
    while not isinstance(outcome, Running) or not outcome.payload or outcome.payload["phase"] != "prune":
        outcome = kind.step(step_of(kind, outcome.payload, action_id="a-2"))
    kind.cancel(step_of(kind, outcome.payload, action_id="a-2"))
    assert (shop.current, len(shop.releases)) == ("two", 2)


# The application was removed from the configuration


def reconfigured(agent: AgentProcess, document: dict[str, Any]) -> None:
    """A reload with another configuration, which takes over the running action."""
    (agent.directory / "agent.toml").write_text(toml({"applications": document["applications"]}))
    agent.reload()


def told_at_the_end(agent: AgentProcess, action: str) -> str:
    final = agent.await_final(action, timeout=30)["action"]
    assert final["state"] == "FAILED", final
    return str(final["state_payload"]["message"])


NONE_IS_LEFT = "deploy is not available on this node: set [applications.NAME] in the configuration"


def test_deploy_of_an_application_removed_before_the_switch_leaves_no_release(
    shop: Shop, start_agent: StartAgent
) -> None:
    shop.deployed()
    shop.origin.commit({"version": "two"})
    agent = shop.agent(start_agent, before=[held(shop.directory)])
    action = agent.schedule("deploy", {})
    await_held(shop.directory)
    (runner,) = runners(agent, "before")
    reconfigured(agent, {"applications": {}})
    assert told_at_the_end(agent, action) == (
        f"{NONE_IS_LEFT}; {shop.path}/current was not switched; the command that still ran was ended"
    )
    assert (shop.current, len(shop.releases)) == ("one", 1)
    eventually(lambda: not Path(f"/proc/{runner}").exists(), "the end of the command")


@pytest.mark.parametrize("change", ["only one left", "another path"])
def test_deploy_of_an_application_changed_after_the_switch_stays_switched_with_a_report(
    shop: Shop, start_agent: StartAgent, change: str
) -> None:
    shop.deployed()
    shop.origin.commit({"version": "two"})
    before = shop.document(after=[held(shop.directory)])
    elsewhere = {"other": {"repository": str(shop.origin.path), "path": str(shop.directory / "other")}}
    agent = start_agent(config=toml({"applications": before["applications"] | elsewhere}))
    action = agent.schedule("deploy", {"application": "shop"})
    await_held(shop.directory)
    (runner,) = runners(agent, "after")
    if change == "only one left":
        reconfigured(agent, {"applications": elsewhere})
        why = "deploy does not accept these arguments: application: Must be one of: other"
    else:
        moved = {"shop": before["applications"]["shop"] | {"path": str(shop.directory / "new")}}
        reconfigured(agent, {"applications": moved | elsewhere})
        why = f"the path of the application shop was changed to {shop.directory}/new meanwhile"
    release = os.readlink(shop.path / "current")
    assert told_at_the_end(agent, action) == (
        f"{why}; {shop.path}/current stays switched to {release}; it has no unit to restart; "
        "the command that still ran was ended"
    )
    assert (shop.current, (shop.directory / "new").exists()) == ("two", False)
    eventually(lambda: not Path(f"/proc/{runner}").exists(), "the end of the command")


def said_in(file: Path, word: str) -> list[str]:
    return sh(f"echo {word} >> {shlex.quote(str(file))}")


@pytest.mark.parametrize("change", ["fewer", "more"])
def test_change_of_the_configuration_affects_the_next_deploy_only(
    shop: Shop, start_agent: StartAgent, change: str
) -> None:
    ran = shop.directory / "ran"
    one, two, three = (said_in(ran, word) for word in ("one", "two", "three"))
    old: dict[str, Any] = {
        "before": [one, held(shop.directory)],
        "after": [two, three],
        "health": said_in(ran, "healthy"),
    }
    agent = shop.agent(start_agent, **old)
    action = agent.schedule("deploy", {})
    await_held(shop.directory)
    more = [said_in(ran, "new")]
    new = {"before": more + old["before"], "after": more + old["after"], "health": ["false"]}
    reconfigured(agent, shop.document() if change == "fewer" else shop.document(**new))
    let_go(shop.directory)
    assert agent.await_final(action, timeout=30)["action"]["state"] == "DONE"
    assert ran.read_text().split() == ["one", "healthy", "two", "three"]
    assert (shop.directory / "count").read_text() == "ran\n"
