"""A job runs once and outlives its starter; its result is known, or it is known to be lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from agent.jobs import jobs as jobs_module, launch, transient_unit
from agent.jobs.jobs import BadJobName, ExitedJob, Job, Jobs, JobStillRuns, LostJob, RunningJob
from agent.processes.command import CommandResult
from agent.processes.output import TAIL
from agent.processes.process import Process
from agent.processes.recording import Recorded, recording
from agent.processes.transcript import Transcript
from tests.agent_process import eventually
from tests.processes.children import pid_in, process_in, python

ONCE = 'echo done >>"$1"; echo said'
FOR_EVER = 'echo $$ >"$1"; echo working; while :; do sleep 0.1; done'

START = """
import os, sys
from pathlib import Path
from agent.jobs.jobs import Jobs
jobs = Jobs(Path(sys.argv[1]))
def start():
    return jobs.start("one", ["sh", "-c", sys.argv[2], "sh", sys.argv[3]], stdin=b"hunter2")
"""


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """Jobs in tmp_path/jobs; those that still run are ended."""
    directory = tmp_path / "jobs"
    yield Jobs(directory)
    for each in directory.glob("[!.]*"):
        Job(each).end(0)


def sh(jobs: Jobs, script: str, *args: object, name: str = "one", **options: Any) -> Job:
    return jobs.start(name, ["sh", "-c", script, "sh", *map(str, args)], **options)


def result(job: Job, timeout: float = 20) -> ExitedJob:
    """The result of the job, awaited."""
    eventually(lambda: not isinstance(job.look(), RunningJob), "the end of the job", timeout)
    status = job.look()
    assert isinstance(status, ExitedJob), status
    return status


def running(job: Job) -> RunningJob:
    status = job.look()
    assert isinstance(status, RunningJob), status
    return status


def lost(job: Job) -> LostJob:
    status = job.look()
    assert isinstance(status, LostJob), status
    return status


def alive(pid: int) -> bool:
    process = Process.of(pid)
    return process is not None and process.alive


# The ordinary way


def test_status_and_output_of_a_job_are_kept(jobs: Jobs, tmp_path: Path) -> None:
    job = sh(jobs, "pwd; cat; echo $COLOUR >&2; exit 3", stdin=b"given\n", cwd=tmp_path,
             env={"COLOUR": "red"})  # fmt: skip
    assert result(job) == ExitedJob(3, f"{tmp_path}\ngiven\nred\n", None, "")
    assert not result(job).ok
    found = jobs.find("one")
    assert found is not None and found.look() == job.look()


def test_running_job_shows_its_runner_and_output(jobs: Jobs, tmp_path: Path) -> None:
    job = sh(jobs, 'echo first; while [ ! -e "$1" ]; do sleep 0.02; done; echo last', tmp_path / "go")
    eventually(lambda: running(job).output == "first\n", "the first line")
    assert alive(running(job).pid) and os.getsid(running(job).pid) == running(job).pid
    (tmp_path / "go").touch()
    assert result(job).output == "first\nlast\n" and result(job).ok


def test_output_of_a_job_is_bounded_on_disk(jobs: Jobs) -> None:
    job = sh(jobs, "head -c 20000000 /dev/zero; seq 9; sleep 0.5; exit 0")
    eventually(lambda: running(job).output.endswith("\n8\n9\n"), "the end of the output")
    assert len(running(job).output) == TAIL
    assert (job.directory / "output").stat().st_size <= 2 * TAIL
    assert result(job).ok


def test_job_of_a_missing_program_ends_with_127_and_the_reason(jobs: Jobs) -> None:
    status = result(jobs.start("one", ["no-such-program"]))
    assert (status.status, status.output) == (127, "no-such-program was not found\n")


def test_a_job_inherits_no_variables_of_the_agent_or_an_action(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_ACTION", "a1")
    monkeypatch.setenv("DB_PASSWORD", "red")
    monkeypatch.setenv("TZ", "UTC")
    show = 'echo "${AGENT_ACTION-none} ${DB_PASSWORD-none} ${TZ-none}"'
    job = sh(jobs, show + "; sleep 0.3")
    assert b"AGENT_ACTION" not in Path(f"/proc/{running(job).pid}/environ").read_bytes()
    assert result(job).output == "none none UTC\n"
    env = {"AGENT_ACTION": "a1", "PATH": os.environ["PATH"]}
    assert result(sh(jobs, show, name="two", env=env)).output == "none none none\n"


def test_background_process_of_a_job_is_neither_awaited_nor_ended(jobs: Jobs, tmp_path: Path) -> None:
    job = sh(jobs, 'sleep 60 & echo $! >"$1"', tmp_path / "pid")
    assert result(job, timeout=10).ok
    daemon = process_in(tmp_path / "pid")
    assert daemon.alive
    daemon.signal(signal.SIGKILL)


def test_a_job_inherits_no_open_files_of_the_agent(jobs: Jobs) -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        job = sh(jobs, "sleep 60")
        links = {os.readlink(fd) for fd in Path(f"/proc/{running(job).pid}/fd").iterdir()}
        assert os.readlink(f"/proc/self/fd/{write}") not in links
        standard = {os.readlink(f"/proc/{running(job).pid}/fd/{n}") for n in range(3)}
        assert standard == {"/dev/null"}
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "a/b", "-a", "a b", "a\n", "é", "a" * 101])
def test_a_name_that_is_not_plain_is_refused(jobs: Jobs, name: str) -> None:
    with pytest.raises(BadJobName):
        jobs.start(name, ["true"])
    with pytest.raises(BadJobName):
        jobs.find(name)


def test_plain_names_are_taken(jobs: Jobs) -> None:
    for name in ("a", "deploy.2-b_C", "0" * 100):
        assert result(jobs.start(name, ["true"])).ok


# Once


def test_job_of_a_name_runs_once_until_forgotten(jobs: Jobs, tmp_path: Path) -> None:
    effect = tmp_path / "effect"
    for _ in range(3):
        assert result(sh(jobs, ONCE, effect)).output == "said\n"
    assert effect.read_text() == "done\n"
    sh(jobs, ONCE, effect).forget()
    assert jobs.find("one") is None and list((tmp_path / "jobs").iterdir()) == []
    assert result(sh(jobs, ONCE, effect)).ok
    assert effect.read_text() == "done\ndone\n"


def test_job_started_concurrently_runs_once(jobs: Jobs, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        started = list(pool.map(lambda _: sh(jobs, ONCE, tmp_path / "effect"), range(8)))
    assert all(result(job).ok for job in started)
    assert (tmp_path / "effect").read_text() == "done\n"


def test_second_runner_of_a_job_does_nothing(jobs: Jobs, tmp_path: Path) -> None:
    job = sh(jobs, ONCE + "; sleep 0.3", tmp_path / "effect")
    subprocess.run(launch._runner_argv(job, "second"), check=True, timeout=20)
    assert result(job).note == "" and (tmp_path / "effect").read_text() == "done\n"


def test_a_running_job_cannot_be_forgotten(jobs: Jobs, tmp_path: Path) -> None:
    job = sh(jobs, FOR_EVER, tmp_path / "pid")
    with pytest.raises(JobStillRuns, match="job one still runs"):
        job.forget()
    job.end(5)
    job.forget()
    job.forget()
    assert jobs.find("one") is None


def test_job_continues_if_its_starter_is_killed_after_the_start(jobs: Jobs, tmp_path: Path) -> None:
    script = START + "start(); os.kill(os.getpid(), 9)"
    work = "sleep 0.5; cat; " + ONCE
    with python(script, tmp_path / "jobs", work, tmp_path / "effect") as starter:
        assert starter.wait(20) == -9
    job = jobs.find("one")
    assert job is not None and isinstance(job.look(), RunningJob)
    assert result(job).output == "hunter2said\n"
    assert (tmp_path / "effect").read_text() == "done\n"


KILLED_AT = """
calls = 0
def fragile(function):
    def call(*args, **options):
        global calls
        calls += 1
        if calls == int(sys.argv[4]):
            os.kill(os.getpid(), 9)
        return function(*args, **options)
    return call
import subprocess
for name in ("mkdir", "open", "write", "fsync", "link", "rename", "unlink", "close"):
    setattr(os, name, fragile(getattr(os, name)))
subprocess.Popen = fragile(subprocess.Popen)
start()
os._exit(0)
"""


def test_job_runs_once_if_its_starter_is_killed_at_any_write(jobs: Jobs, tmp_path: Path) -> None:
    effects = []
    for at in range(1, 100):
        where, effect = tmp_path / f"jobs{at}", tmp_path / f"effect{at}"
        effects.append(effect)
        with python(START + KILLED_AT, where, ONCE, effect, at) as starter:
            ended = starter.wait(20)
        assert_private(where)
        assert result(sh(Jobs(where), ONCE, effect, stdin=b"hunter2")).output == "said\n"
        assert [entry.name for entry in where.iterdir()] == ["one"]
        if ended != -9:
            break
    assert ended == 0 and len(effects) > 15
    assert {effect.read_text() for effect in effects} == {"done\n"}


def assert_private(directory: Path) -> None:
    for request in directory.rglob("request*"):
        assert request.stat().st_mode & 0o777 == 0o600
        assert request.parent.stat().st_mode & 0o777 == 0o700


def test_interrupted_start_is_not_found_and_never_runs_later(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "launch", lambda job: None)  # Killed just before.
    job = sh(jobs, ONCE, tmp_path / "effect")
    argv = launch._runner_argv(job, "")
    assert jobs.find("one") is None
    subprocess.run(argv, check=True, timeout=20)  # A runner that comes late.
    assert not (tmp_path / "effect").exists() and not job.directory.exists()
    monkeypatch.undo()
    assert result(sh(jobs, ONCE, tmp_path / "effect")).ok


def test_interrupted_find_does_not_block_a_start(jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "launch", lambda job: None)
    sh(jobs, ONCE, tmp_path / "effect").withdraw(jobs_module.NOT_STARTED)
    monkeypatch.undo()
    assert result(sh(jobs, ONCE, tmp_path / "effect")).output == "said\n"


def test_job_whose_runner_does_not_start_is_lost_and_has_not_run(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    job = sh(jobs, ONCE, tmp_path / "effect", stdin=b"hunter2")
    assert lost(job).why == "the runner did not start; the command has not run"
    assert "request" not in files_of(job)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    why = lost(sh(jobs, ONCE, tmp_path / "effect", name="two")).why
    assert why == "no runner could be started: No such file or directory"
    assert not (tmp_path / "effect").exists()


# Secrets


def files_of(job: Job) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in job.directory.iterdir()}


def test_a_started_job_does_not_keep_its_stdin(jobs: Jobs, tmp_path: Path) -> None:
    job = sh(jobs, 'head -c 3 >/dev/null; echo $$ >"$1"; sleep 60', tmp_path / "pid",
             stdin=b"hunter2")  # fmt: skip
    pid_in(tmp_path / "pid")
    eventually(lambda: "command" in files_of(job), "the record of the command")
    assert set(files_of(job)) == {"claim", "command", "output"}
    assert not any(b"hunter2" in data or b"aHVudGVyM" in data for data in files_of(job).values())
    assert b"hunter2" not in Path(f"/proc/{running(job).pid}/cmdline").read_bytes()
    assert job.directory.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in job.directory.iterdir())


# Ends


def test_job_is_ended_after_its_timeout(jobs: Jobs, tmp_path: Path) -> None:
    status = result(sh(jobs, FOR_EVER, tmp_path / "pid", timeout=0.5))
    assert status == ExitedJob(-15, "working\n", "timeout", "") and not status.ok
    assert not alive(pid_in(tmp_path / "pid"))


def test_a_running_job_can_be_ended(jobs: Jobs, tmp_path: Path) -> None:
    job = sh(jobs, "trap 'echo tidied; exit 4' TERM; " + FOR_EVER, tmp_path / "pid")
    pid_in(tmp_path / "pid")
    status = job.end(10)
    assert isinstance(status, ExitedJob) and (status.status, status.ended) == (4, "stopped")
    assert status.output.startswith("working\n") and status.output.endswith("tidied\n")
    assert job.end(10) == status


def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(jobs: Jobs, tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 60 & " + FOR_EVER
    job = sh(jobs, script, tmp_path / "pid")
    pid_in(tmp_path / "pid")
    began = time.monotonic()
    assert job.end(0.5) == ExitedJob(-9, "working\n", "stopped", "")
    assert 0.5 <= time.monotonic() - began < 60
    assert not alive(pid_in(tmp_path / "pid"))


# Lost


def test_job_of_a_killed_runner_is_lost_and_its_command_ends(jobs: Jobs, tmp_path: Path) -> None:
    job = sh(jobs, FOR_EVER, tmp_path / "pid")
    command = process_in(tmp_path / "pid")
    eventually(lambda: running(job).output == "working\n", "its output")
    os.kill(running(job).pid, signal.SIGKILL)
    eventually(lambda: not command.alive, "the end of the command")
    eventually(lambda: isinstance(job.look(), LostJob), "the loss")
    eventually(lambda: lost(job).why == "its runner was killed", "the end of its children")
    assert lost(job).output == "working\n"
    assert isinstance(sh(jobs, FOR_EVER, tmp_path / "pid").look(), LostJob)  # Not started again.


def test_processes_of_a_lost_job_are_reported_and_can_be_ended(jobs: Jobs, tmp_path: Path) -> None:
    script = 'sleep 60 & echo $! >"$1"; wait'
    job = sh(jobs, script, tmp_path / "pid")
    left = process_in(tmp_path / "pid")
    eventually(lambda: (job.directory / "command").exists(), "the record of the command")
    os.kill(running(job).pid, signal.SIGKILL)
    eventually(lambda: isinstance(job.look(), LostJob), "the loss")
    assert lost(job).why == "its runner was killed and left processes of it behind" and left.alive
    assert job.end(1) == LostJob("its runner was killed", "", "") and not left.alive


@pytest.fixture
def claim_changed(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Change the runner in a job's record; the real runner is ended at the end of the test."""
    saved: dict[Path, str] = {}

    def change(job: Job, **facts: object) -> Path:
        path = job.directory / "claim"
        saved[path] = path.read_text()
        claim = json.loads(saved[path])
        claim["runner"].update(facts)
        path.write_text(json.dumps(claim))
        return path

    yield change
    for path, text in saved.items():
        path.write_text(text)


def test_other_process_with_the_pid_of_the_runner_is_not_ended(
    jobs: Jobs, tmp_path: Path, claim_changed: Callable[..., Path]
) -> None:
    job = sh(jobs, FOR_EVER, tmp_path / "pid")
    command, pid = pid_in(tmp_path / "pid"), running(job).pid
    claim_changed(job, started=1)
    assert lost(job).why.startswith("its runner was killed")
    eventually((job.directory / "command").exists, "the runner has noted the command")
    (job.directory / "command").unlink()
    assert isinstance(job.end(0), LostJob)
    assert alive(pid) and alive(command)


def test_job_is_lost_after_a_restart_of_the_host(
    jobs: Jobs, tmp_path: Path, claim_changed: Callable[..., Path]
) -> None:
    job = sh(jobs, FOR_EVER, tmp_path / "pid")
    claim_changed(job, boot="an earlier one")
    assert lost(job).why == "the host was restarted while it ran"


@pytest.mark.parametrize("left", [b"", b"\0" * 80], ids=["empty", "zeros"])
def test_command_record_emptied_by_a_power_cut_is_ignored(
    jobs: Jobs, tmp_path: Path, claim_changed: Callable[..., Path], left: bytes
) -> None:
    job = sh(jobs, FOR_EVER, tmp_path / "pid")
    pid_in(tmp_path / "pid")
    eventually((job.directory / "command").exists, "the record of the command")
    claim_changed(job, started=1)
    (job.directory / "command").write_bytes(left)
    assert lost(job).why == "its runner was killed"
    assert isinstance(job.end(0), LostJob)


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], check=True)
    try:
        yield mount
    finally:
        with suppress(FileNotFoundError):
            Job(mount / "jobs" / "one").end(0)
        subprocess.run(["umount", str(mount)], check=True)


def test_a_full_disk_loses_neither_the_result_nor_the_last_output(small_disk: Path, tmp_path: Path) -> None:
    ballast = small_disk / "ballast"
    script = 'while [ ! -e "$1" ]; do sleep 0.02; done; seq 30000; exit 3'
    job = sh(Jobs(small_disk / "jobs"), script, tmp_path / "go")
    eventually(lambda: (job.directory / "command").exists(), "the record of the command")
    with pytest.raises(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    (tmp_path / "go").touch()
    command = Process(**json.loads((job.directory / "command").read_bytes()))
    eventually(lambda: not command.alive, "the end of the command")
    assert isinstance(job.look(), RunningJob)
    ballast.unlink()
    ended = result(job)
    assert ended.status == 3 and ended.output.endswith("\n30000\n"), ended


# The service manager


def test_job_refused_by_systemd_runs_as_a_child_with_a_note(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = tmp_path / "bin" / "systemd-run"
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\necho 'Failed to start: Access denied' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setattr(launch, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setenv("PATH", f"{refusing.parent}:{os.environ['PATH']}")
    status = result(sh(jobs, ONCE, tmp_path / "effect"))
    note = "runs as a child of the agent, because systemd refused: Failed to start: Access denied"
    assert status == ExitedJob(0, "said\n", None, note)


def test_job_without_systemd_run_runs_as_a_child_with_a_note(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    job = jobs.start("one", ["/bin/true"])
    assert result(job).note == "runs as a child of the agent, because systemd-run was not found"


SLOW_TO_LOAD = {"dataclasses", "enum", "json", "pathlib", "re", "signal", "subprocess", "threading", "typing"}


def test_runner_imports_no_slow_module(jobs: Jobs, tmp_path: Path) -> None:
    job = Job(jobs._directory / "one")
    with recording(Transcript(tmp_path / "output", 4096, ["secret-of-the-action"])):
        jobs._prepare(job, ["echo", "said"], b"", None, None, None, -1, Recorded("$ echo"))
    argv = launch._runner_argv(job, "")
    argv[1:1] = ["-X", "importtime"]
    done = subprocess.run(argv, check=True, timeout=20, capture_output=True, text=True)
    names = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert result(job) == ExitedJob(0, "said\n", None, "")
    assert {"agent.jobs.following", "agent.processes.child"} <= names
    assert not names & SLOW_TO_LOAD
    packages = {".".join(name.split(".")[:2]) for name in names if name.startswith("agent")}
    assert packages == {"agent", "agent.jobs", "agent.processes", "agent.util"}


def test_command_ignores_neither_sigpipe_nor_sigxfsz(jobs: Jobs) -> None:
    ignored = result(jobs.start("one", ["grep", "SigIgn", "/proc/self/status"])).output.split()[1]
    assert not int(ignored, 16) & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)


def test_forget_ended_keeps_running_jobs(jobs: Jobs, tmp_path: Path) -> None:
    ended = sh(jobs, "true", name="ended")
    eventually(lambda: isinstance(ended.look(), ExitedJob), "it has ended")
    runs = sh(jobs, "sleep 60", name="runs")
    jobs.forget_ended()
    assert not ended.directory.exists()
    assert isinstance(runs.look(), RunningJob)


# Files left by a power cut or by other programs


UNREADABLE = (b"", b"\0" * 80, b"{", b"[]", b'{"runner": 7}', b'{"runner": {"pid": "1"}}', b"\xff")


def ended(job: Job) -> Job:
    """The job, once its runner has ended."""
    result(job)
    runner = job._runner()
    assert runner is not None
    eventually(lambda: not runner.alive, "the end of the runner")
    return job


def test_unreadable_file_of_an_old_job_blocks_no_later_job(jobs: Jobs) -> None:
    old = ended(sh(jobs, "true", name="old"))
    for number, (content, file) in enumerate(product(UNREADABLE, ("result", "claim", "command"))):
        broken = Job(old.directory.with_name(f"broken-{number}"))
        shutil.copytree(old.directory, broken.directory)
        if file == "claim":
            (broken.directory / "result").unlink()
        (broken.directory / file).write_bytes(content)
        assert isinstance(broken.look(), ExitedJob if file == "command" else LostJob), (content, file)
    jobs.forget_ended()
    assert not list(old.directory.parent.iterdir())
    assert result(sh(jobs, "true")).ok


def test_job_with_an_unreadable_file_is_lost_with_the_reason(jobs: Jobs) -> None:
    job = ended(sh(jobs, "true"))
    (job.directory / "result").write_bytes(b"")
    assert lost(job).why == "its result cannot be read"
    (job.directory / "claim").write_bytes(b"")
    assert lost(job).why == "its files cannot be read"
    assert isinstance(job.end(0), LostJob)


def test_foreign_file_among_the_jobs_blocks_no_job(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "jobs" / "note").write_text("of an operator")
    jobs.forget_ended()
    assert result(sh(jobs, "true")).ok
    (tmp_path / "jobs" / "note").unlink()


@pytest.mark.parametrize("arrived", [True, False], ids=["the request arrived", "the request was lost"])
def test_broken_connection_to_systemd_is_not_taken_for_a_refusal(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrived: bool
) -> None:
    """As during daemon-reexec: a job run as a child instead of a unit would end with the agent's unit."""
    programs: list[str] = []

    def systemd_run(argv: Sequence[str], **_: Any) -> CommandResult:
        programs.append(argv[0])
        words = argv[argv.index("--") + 1 :]
        if arrived or len(programs) > 1:
            started.append(subprocess.Popen(words, start_new_session=True))
        lost = len(programs) == 1
        error = "Failed to start transient service unit: Connection reset by peer" if lost else ""
        return CommandResult(tuple(argv), int(lost), "", error, None)

    started: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(launch, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(launch, "has_bus", lambda: False)
    monkeypatch.setattr(transient_unit, "run", systemd_run)
    job = sh(jobs, ONCE, tmp_path / "done")
    ended = result(job)
    assert (ended.status, ended.note) == (0, ""), ended
    assert (tmp_path / "done").read_text() == "done\n"
    assert programs[0] == "systemd-run"
    for each in started:
        each.wait(20)
