"""A process is identified by its pid, start time and boot."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from agent.processes.process import Group, Process, boot_id, stat_of
from tests.agent_process import eventually


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], process_group=0) as process:
        yield process
        process.kill()


def identity(process: subprocess.Popen[bytes]) -> Process:
    found = Process.of(process.pid)
    assert found is not None
    return found


def test_a_running_process_is_alive(sleeper: subprocess.Popen[bytes]) -> None:
    assert identity(sleeper).alive and identity(sleeper).boot == boot_id()


def test_a_zombie_is_not_alive(sleeper: subprocess.Popen[bytes]) -> None:
    process = identity(sleeper)
    sleeper.kill()
    eventually(lambda: (stat := stat_of(sleeper.pid)) is not None and stat.state == "Z", "a zombie")
    assert not process.alive and not process.signal(signal.SIGTERM)
    assert Group(process).members() == []


def test_an_ended_process_is_not_alive(sleeper: subprocess.Popen[bytes]) -> None:
    process = identity(sleeper)
    sleeper.kill()
    sleeper.wait()
    assert not process.alive and Process.of(sleeper.pid) is None


@pytest.mark.parametrize("change", [{"started": 1}, {"boot": "another"}])
def test_other_process_with_a_reused_pid_is_never_signalled(
    sleeper: subprocess.Popen[bytes], change: dict[str, Any]
) -> None:
    earlier = identity(sleeper)._replace(**change)
    assert not earlier.alive and earlier.signal(signal.SIGKILL) is False
    assert Group(earlier).members() == []
    assert Group(earlier).end(0) is True
    assert sleeper.poll() is None and identity(sleeper).alive


def test_process_name_with_parentheses_is_parsed(tmp_path: os.PathLike[str]) -> None:
    odd = os.path.join(tmp_path, ") Z 1 (")
    os.symlink("/bin/sleep", odd)
    with subprocess.Popen([odd, "60"]) as process:
        try:
            eventually(lambda: os.path.basename(odd) in comm(process.pid), "the odd name")
            assert identity(process).alive
        finally:
            process.kill()


def comm(pid: int) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read().rstrip("\n")
