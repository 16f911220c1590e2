"""A file system that becomes read-only while the agent runs, as ext4 does after an error of its disk."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.chaos.test_unwritable import assert_reads_work, is_unavailable, start
from tests.chaos.witnesses import MARK, complete, whole


class Disk:
    """An ext4 file system in a file, mounted."""

    def __init__(self, directory: Path) -> None:
        self.image = directory / "image"
        self.place = directory / "disk"
        self.place.mkdir()
        with self.image.open("wb") as file:
            file.truncate(32 * 1024 * 1024)
        run("mkfs.ext4", "-q", str(self.image))
        self.mount()

    def mount(self) -> None:
        run("mount", "-o", "loop", str(self.image), str(self.place))

    def unmount(self) -> None:
        """Unmount once the files of a killed process are closed."""
        eventually(lambda: subprocess.run(["umount", str(self.place)], check=False).returncode == 0, "it is unmounted")

    def fail(self) -> None:
        """Remount read-only, as the kernel does after an error of the disk."""
        run("mount", "-o", "remount,abort", str(self.place))

    def repair(self) -> None:
        done = subprocess.run(["e2fsck", "-p", str(self.image)], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stdout + done.stderr


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    yield made
    made.unmount()


def test_a_disk_that_turns_read_only_is_503_for_writes_and_loses_nothing(
    disk: Disk, start_agent: StartAgent, tmp_path: Path
) -> None:
    agent: AgentProcess = start(start_agent, tmp_path, AGENT_DB=str(disk.place / "agent.db"))
    done = agent.schedule(MARK, {})
    agent.await_final(done)
    running = agent.schedule(MARK, {"steps": 1000, "after": 0.05})
    waiting = agent.schedule(MARK, {})
    agent.await_state(running, "RUNNING")
    disk.fail()
    eventually(lambda: is_unavailable(agent.post_schedule(MARK, {})), "writes are refused")
    assert_reads_work(agent, done)
    eventually(lambda: "retrying" in agent.log_text(), "what runs cannot be written down")
    assert "Traceback" not in agent.whole_log()

    agent.kill_all()
    disk.unmount()
    disk.repair()
    disk.mount()
    agent.start()
    assert agent.cancel(running).status == 200
    for action_id in (done, running, waiting):
        assert complete(agent.await_final(action_id))
    assert agent.info(waiting)["action"]["state"] == "DONE"
    agent.stop()
    assert whole(disk.place / "agent.db")
