"""agentctl output and --follow: the output of commands, also while the agent is killed, started and reloaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent_process import PREFIX, AgentProcess, eventually
from tests.cli.calling import call, started
from tests.kinds.configuring import toml

LINES = 15
LIMIT = 65536
CHECK = """
cat > /dev/null
n=$(($(cat {0}/count 2> /dev/null || echo 0) + 1))
echo $n > {0}/count
echo "line $n" >&2
if [ $n -ge {1} ]; then echo '{{"status": "finished"}}'; else echo '{{"status": "running"}}'; fi
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("following")


@pytest.fixture(scope="module")
def talking(directory: Path) -> Iterator[AgentProcess]:
    """An agent with an action that prints a line at each check."""
    begun = ["sh", "-c", f"cat > /dev/null; echo begun >> {directory}/begun"]
    check = ["sh", "-c", CHECK.format(directory, LINES)]
    few = ["sh", "-c", "cat > /dev/null; printf 'one\\ntwo\\nthree\\n' >&2; echo '{\"status\": \"finished\"}'"]
    loud = ["sh", "-c", f"cat > /dev/null; head -c {4 * LIMIT} /dev/zero | tr '\\0' x"]
    kinds = {"talk": {"action": begun, "check": check}, "few": {"action": ["true"], "check": few}}
    kinds["loud"] = {"action": loud, "check": few}
    config = {"external_actions": kinds, "actions": {"output_limit": LIMIT}}
    agent = AgentProcess(directory, config=toml(config)).start()
    yield agent
    agent.close()


def kept(agent: AgentProcess, action_id: str) -> str:
    """The stored output of a final action."""
    found, offset, complete = b"", "0", "false"
    while complete == "false":
        answer = agent.get(f"{PREFIX}/output/{action_id}?offset={offset}")
        found += answer.body
        offset, complete = answer.headers["X-Output-Next"], answer.headers["X-Output-Complete"]
    return found.decode()


def test_output_is_printed_whole_followed_and_by_its_last_lines(talking: AgentProcess) -> None:
    ended = call(talking, "schedule", "few", "--yes", "--wait", "--follow", "-o", "name")
    action_id = ended.stdout.strip()
    whole = kept(talking, action_id)
    assert whole.endswith("one\ntwo\nthree\n")
    assert [line for line in ended.stderr.splitlines() if line in whole.splitlines()] == whole.splitlines()
    assert call(talking, "output", "@last").stdout == whole
    assert call(talking, "output", "@last", "--follow").stdout == whole
    assert call(talking, "output", "@last", "--tail", "2").stdout == "two\nthree\n"
    assert call(talking, "output", "@last", "--tail", "2", "--follow").stdout == "two\nthree\n"
    assert call(talking, "output", "999").status == 7
    call(talking, "schedule", "replicante.test.success", "--wait")
    silent = call(talking, "output", "@last")
    assert (silent.status, silent.stdout) == (0, "")
    assert silent.stderr == "the commands of the action have printed nothing\n"


def test_output_beyond_the_limit_is_printed_with_a_note(talking: AgentProcess) -> None:
    action_id = call(talking, "schedule", "loud", "--yes", "--wait", "-o", "name").stdout.strip()
    ended = call(talking, "output", action_id)
    assert ended.stdout == kept(talking, action_id)
    assert ended.stderr == "the output was longer than actions.output_limit: a part was dropped\n"


def test_follow_prints_each_line_once_across_reload_kill_and_start(talking: AgentProcess, directory: Path) -> None:
    with started(talking, "schedule", "talk", "--yes", "--wait", "--follow") as scheduling:
        eventually(lambda: (directory / "count").exists(), "it runs", 30)
        action_id = talking.queue()[0]["id"]
        with started(talking, "output", action_id, "--follow") as following:
            talking.reload()
            talking.kill_all()
            talking.start()
            stdout, stderr = scheduling.communicate(timeout=120)
            printed, _ = following.communicate(timeout=120)
    assert (scheduling.returncode, following.returncode) == (0, 0), stderr
    assert f"{action_id}  external.talk  done: " in stdout
    assert (directory / "begun").read_text() == "begun\n"
    whole = kept(talking, action_id)
    assert printed == whole
    lines = [line for line in whole.splitlines() if line.startswith("line ")]
    assert [line for line in stderr.splitlines() if line.startswith("line ")] == lines
    assert lines[-1] == f"line {LINES}" and len(set(lines)) == len(lines)
