"""Commands: their result, timeout, output, stdin and process group."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from agent.jobs.jobs import ExitedJob, Jobs
from agent.processes import child
from agent.processes.child import Child
from agent.processes.command import CommandError, CommandNotStarted, CommandResult, run
from agent.processes.popen import popen
from agent.processes.process import Process, all_pids, stat_of
from agent.util.stop import Stop
from tests.agent_process import eventually
from tests.processes.children import (
    ended_at_the_end,
    killed_at_the_end,
    open_files,
    pid_in,
    process_in,
    python,
)

FREEZER = Path("/sys/fs/cgroup/freezer")


def sh(script: str, *args: object, timeout: float = 20, **options: object) -> CommandResult:
    argv = ["sh", "-c", script, "sh", *map(str, args)]
    return run(argv, timeout=timeout, **options)  # type: ignore[arg-type]


# Results


def test_a_result_has_the_exit_status_and_both_outputs() -> None:
    outcome = sh("cat; echo oops >&2; exit 3", stdin=b"given")
    assert (outcome.status, outcome.stdout, outcome.stderr) == (3, "given", "oops\n")
    assert outcome.ended is None and not outcome.ok
    assert sh("true").ok


def test_a_death_by_a_signal_is_a_negative_status() -> None:
    outcome = sh("kill -SEGV $$")
    assert outcome.status == -signal.SIGSEGV and not outcome.ok
    assert outcome.describe().endswith("was killed by SIGSEGV")


@pytest.mark.parametrize(
    ("status", "ended", "sentence"),
    [
        (0, None, "pg_ctl 'a b' succeeded"),
        (2, None, "pg_ctl 'a b' failed with exit status 2"),
        (-99, None, "pg_ctl 'a b' was killed by signal 99"),
        (-15, "timeout", "pg_ctl 'a b' took too long and was ended"),
        (0, "cancelled by ada", "pg_ctl 'a b' was ended: cancelled by ada"),
        (None, "timeout", "pg_ctl 'a b' was killed (timeout) but is still running"),
    ],
)
def test_a_result_is_described_in_one_sentence(status: int | None, ended: str | None, sentence: str) -> None:
    outcome = CommandResult(("pg_ctl", "a b"), status, "", "", ended)
    assert outcome.describe() == sentence
    assert outcome.ok == (sentence == "pg_ctl 'a b' succeeded")


def test_description_has_neither_environment_nor_stdin_and_is_short() -> None:
    outcome = run(
        ["sh", "-c", "cat >/dev/null; exit 1", "x" * 5000],
        stdin=b"hunter2", env={"PATH": os.environ["PATH"], "PASSWORD": "hunter3"}, timeout=20,
    )  # fmt: skip
    assert outcome.status == 1
    assert "hunter" not in outcome.describe() and len(outcome.describe()) < 300


def test_a_program_that_cannot_start_is_named_with_the_reason(tmp_path: Path) -> None:
    plain, lost = tmp_path / "plain", tmp_path / "lost"
    plain.write_text("no program")
    lost.write_text("#!/nowhere/sh\n")
    lost.chmod(0o755)
    for argv, message in [
        (["no-such-program"], "no-such-program was not found"),
        ([str(plain)], f"{plain} is not executable"),
        ([str(lost)], f"{lost} names an interpreter that was not found"),
        (["a\0b"], "a\0b could not be started: embedded null byte"),
        ([], "no command was given"),
    ]:
        with pytest.raises(CommandNotStarted) as caught:
            run(argv, timeout=20)
        assert str(caught.value) == message
    with pytest.raises(CommandError, match=f"there is no directory {tmp_path}/none"):
        run(["true"], timeout=20, cwd=tmp_path / "none")


# Its environment


def test_a_command_runs_in_the_given_folder_and_environment(tmp_path: Path) -> None:
    outcome = sh("pwd; echo $COLOUR", cwd=tmp_path, env={"COLOUR": "red"})
    assert outcome.stdout == f"{tmp_path}\nred\n"


def test_command_inherits_agent_action_and_no_variables_of_the_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AGENT_ACTION", "of the agent itself")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("DB_PASSWORD", "red")
    monkeypatch.setenv("TZ", "UTC")
    show = 'echo "${AGENT_ACTION-none} ${NOTIFY_SOCKET-none} ${DB_PASSWORD-none} ${TZ-none}"'
    assert sh(show).stdout == "none none none UTC\n"
    assert sh(show, action="a1").stdout == "a1 none none UTC\n"
    assert sh(show, action="a1", env={"AGENT_ACTION": "x"}).stdout == "a1 none none none\n"


# Time and stops


def test_timeout_sends_sigterm_to_the_process_group(tmp_path: Path) -> None:
    began = time.monotonic()
    outcome = sh('sleep 60 & echo $! >"$1"; echo working; wait', tmp_path / "pid", timeout=2)
    assert time.monotonic() - began < 60
    assert (outcome.ended, outcome.status, outcome.stdout) == ("timeout", -15, "working\n")
    pid = pid_in(tmp_path / "pid")
    eventually(lambda: (stat := stat_of(pid)) is None or stat.state == "Z", "the end of the child")


def test_command_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    began = time.monotonic()
    script = 'trap "" TERM; sh -c \'echo $$ >"$1"; while :; do sleep 1; done\' sh "$1"'
    outcome = sh(script, tmp_path / "pid", timeout=2, grace=0.5)
    assert 2.5 <= time.monotonic() - began < 60
    assert (outcome.ended, outcome.status) == ("timeout", -9)
    assert stat_of(pid_in(tmp_path / "pid")) is None or not process_in(tmp_path / "pid").alive


def test_process_group_has_its_grace_even_if_the_command_ends_at_once(
    tmp_path: Path,
) -> None:
    tidy = tmp_path / "tidy"
    tidy.write_text("""
        trap 'sleep 0.3; echo tidied >"$1"; exit' TERM
        echo ready
        : >"$1.ready"
        while :; do sleep 0.1; done
    """)
    with Stop() as stop:
        ready = threading.Thread(target=stop_when, args=(stop, (tmp_path / "file.ready").exists))
        ready.start()
        outcome = sh('sh "$1" "$2" & wait', tidy, tmp_path / "file", stop=stop)
        ready.join()
    assert (outcome.status, outcome.ended, outcome.stdout) == (-15, "enough", "ready\n")
    assert (tmp_path / "file").read_text() == "tidied\n"


def stop_when(stop: Stop, fact: Callable[[], bool]) -> None:
    eventually(fact, "the fact after which it is stopped")
    stop.request("enough")


def test_a_stop_from_another_thread_is_noticed_at_once() -> None:
    with Stop() as stop:
        threading.Timer(0.3, stop.request, ["cancelled by ada"]).start()
        began = time.monotonic()
        outcome = sh("sleep 60", stop=stop)
        assert 0.3 <= time.monotonic() - began < 60
    assert (outcome.ended, outcome.status, outcome.ok) == ("cancelled by ada", -15, False)


def test_command_is_not_started_after_a_stop(tmp_path: Path) -> None:
    with Stop() as stop:
        stop.request("cancelled")
        outcome = sh('touch "$1"', tmp_path / "effect", stop=stop)
    assert outcome.ended == "cancelled" and not outcome.ok
    assert not (tmp_path / "effect").exists()


def test_suspended_process_is_ended_by_a_timeout() -> None:
    assert sh("kill -STOP $$", timeout=0.3, grace=10).status == -15


def test_output_printed_during_the_grace_is_kept() -> None:
    outcome = sh(
        "trap 'head -c 1000000 /dev/zero; echo bye; exit 7' TERM; while :; do sleep 0.1; done",
        timeout=0.3,
    )
    assert outcome.stdout.endswith("\0bye\n") and outcome.status == 7


def test_very_long_timeout_is_accepted() -> None:
    assert sh("sleep 0.1", timeout=float("inf")).ok
    assert sh("sleep 0.1", timeout=1e12).ok


@pytest.mark.skipif(not FREEZER.is_dir(), reason="the kernel has no freezer of the first kind")
def test_process_that_cannot_be_killed_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "KILL_WAIT", 0.3)
    cgroup = FREEZER / f"t-{os.getpid()}"
    cgroup.mkdir()
    freeze = 'echo $$ >"$1"; echo $$ >"$2/cgroup.procs"; echo FROZEN >"$2/freezer.state"; sleep 60'
    try:
        outcome = sh(freeze, tmp_path / "pid", cgroup, timeout=0.5, grace=0.2)
        stuck = process_in(tmp_path / "pid")
        assert outcome.status is None and outcome.ended == "timeout" and stuck.alive
    finally:
        (cgroup / "freezer.state").write_text("THAWED")
        eventually(lambda: not (cgroup / "cgroup.procs").read_text(), "an empty cgroup")
        cgroup.rmdir()
    eventually(lambda: stat_of(stuck.pid) is None, "the end, with no zombie left")


# Its pipes


def test_background_child_is_neither_awaited_nor_ended(tmp_path: Path) -> None:
    began = time.monotonic()
    outcome = sh('sleep 60 & echo $! >"$1"; echo started', tmp_path / "pid")
    assert time.monotonic() - began < 60
    assert outcome.ok and outcome.stdout == "started\n"
    daemon = process_in(tmp_path / "pid")
    with ended_at_the_end(daemon):
        assert daemon.alive


def test_a_background_child_that_never_stops_printing_does_not_block(tmp_path: Path) -> None:
    began = time.monotonic()
    assert sh('yes & echo $! >"$1"; sleep 0.2', tmp_path / "pid", tail=100).ok
    with ended_at_the_end(process_in(tmp_path / "pid")):
        assert time.monotonic() - began < 60


def test_output_faster_than_its_reader_does_not_block(tmp_path: Path) -> None:
    reads = []

    def slow(data: bytes) -> None:
        reads.append(len(data))
        assert len(reads) < 500, "it reads without an end"
        time.sleep(0.005)

    argv = ["sh", "-c", 'yes & echo $! >"$1"; sleep 0.2', "sh", str(tmp_path / "pid")]
    started = Child(partial(popen, argv, stdin=False, env=os.environ), stdin=b"", stdout=slow, stderr=slow)
    try:
        assert started.follow(20, None) is None and started.status == 0
    finally:
        process_in(tmp_path / "pid").signal(signal.SIGKILL)
        started.close()


def test_silent_command_costs_no_cpu_time() -> None:
    before = time.thread_time()
    assert sh("exec <&- >&- 2>&-; sleep 0.5", stdin=b"x" * 200_000).ok
    assert time.thread_time() - before < 0.2


def test_output_printed_before_the_end_is_complete() -> None:
    outcome = sh("head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2; echo end; echo end >&2")
    assert len(outcome.stdout) == len(outcome.stderr) == 60004
    assert outcome.stdout.endswith("end\n") and outcome.stderr.endswith("end\n")


def test_child_that_does_not_read_its_stdin_does_not_block() -> None:
    assert sh("echo done", stdin=b"x" * 10_000_000).stdout == "done\n"
    assert sh("sleep 60", stdin=b"x" * 10_000_000, timeout=0.3).ended == "timeout"


def test_child_that_closes_its_stdin_early_keeps_its_exit_status() -> None:
    outcome = sh("exec <&-; sleep 0.3; echo done; exit 5", stdin=b"x" * 10_000_000)
    assert (outcome.stdout, outcome.status) == ("done\n", 5)


def test_a_large_stdin_arrives_whole_while_output_comes_back() -> None:
    outcome = sh("tee /dev/stderr | wc -c", stdin=b"x" * 5_000_000)
    assert outcome.stdout.strip() == "5000000" and len(outcome.stderr) == 65536


def test_command_without_stdin_reads_end_of_file() -> None:
    assert sh("cat; echo done").stdout == "done\n"


def test_sigpipe_has_its_default_action_in_a_command() -> None:
    assert sh("yes | head -n 1; yes | true; echo $?").stdout == "y\n0\n"
    assert sh("bash -c 'yes | head -n 1 >/dev/null; echo ${PIPESTATUS[0]}'").stdout == "141\n"


def test_only_the_tail_of_the_output_is_kept() -> None:
    outcome = sh("seq 100000", tail=12)
    assert outcome.stdout == "99999\n100000\n"[-12:]
    assert sh("printf 'aé'", tail=1).stdout == "\ufffd"
    assert sh("printf abc", tail=0).stdout == ""


def test_memory_is_bounded_for_any_amount_of_output() -> None:
    script = """
from agent.processes.command import run
def peak():
    fields = dict(line.split(":") for line in open("/proc/self/status") if ":" in line)
    return int(fields["VmHWM"].split()[0])
run(["true"], timeout=60)
before = peak()
outcome = run(["head", "-c", "200000000", "/dev/zero"], timeout=60)
assert outcome.ok and len(outcome.stdout) == 65536, outcome.describe()
print(peak() - before)
"""
    with killed_at_the_end(python(script)) as process:
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and int(printed) < 4096, f"{printed} kB more"


# Leftovers


def test_no_zombie_and_no_open_file_is_left() -> None:
    gc.collect()  # ignore descriptors that earlier tests left open
    before = open_files()
    pids = [int(sh("echo $$; exit 3").stdout), int(sh("echo $$; sleep 60", timeout=0.3).stdout)]
    with pytest.raises(CommandNotStarted):
        run(["no-such-program"], timeout=20)
    assert [stat_of(pid) for pid in pids] == [None, None]
    assert open_files() - before == set()


def test_exception_during_a_command_leaves_no_process(tmp_path: Path) -> None:
    class Broken(Stop):
        @property
        def requested(self) -> bool:
            if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"):
                raise KeyboardInterrupt
            return False

    with Broken() as stop, pytest.raises(KeyboardInterrupt):
        sh(
            'echo x; echo $$ >"$1"; while :; do echo x; sleep 0.05; done',
            tmp_path / "pid",
            stop=stop,
        )
    pid = pid_in(tmp_path / "pid")
    eventually(lambda: stat_of(pid) is None, "the end of the command")


def test_concurrent_commands_of_many_threads_work() -> None:
    def one(n: int) -> bool:
        return sh("cat; sleep 0.05; echo $1", n, stdin=b"%d " % n).stdout == f"{n} {n}\n"

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(64)))


def test_a_command_does_not_hold_the_pipes_of_another_command(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(sh, 'echo $$ >"$1"; cat; echo end', tmp_path / "pid", stdin=b"x" * 200_000)
        second = [sh("sleep 0.05") for _ in range(5)]
        assert first.result(timeout=10).stdout.endswith("xend\n") and all(s.ok for s in second)


def test_command_has_its_own_process_group() -> None:
    pid, group = sh("ps -o pid=,pgid= -p $$").stdout.split()
    assert pid == group != str(os.getpgrp())


# Background children and their output

CHATTY = """
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
pid, seconds = os.getpid(), 0
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(pid))
os.rename(sys.argv[1] + ".new", sys.argv[1])
while not os.path.exists(sys.argv[1] + ".end"):
    os.write(1, b"x" * 4096)
    os.write(2, b"y" * 4096)
    with open(sys.argv[1] + ".wrote", "a") as file:
        file.write("w")
    time.sleep(0.002)
"""


def written(pid_file: Path) -> int:
    return Path(f"{pid_file}.wrote").stat().st_size


@pytest.mark.parametrize("how", ["command", "job"])
def test_daemon_that_writes_to_inherited_pipes_is_not_killed(tmp_path: Path, how: str) -> None:
    """It writes more than a pipe holds to both."""
    pid_file = tmp_path / "pid"
    argv = [sys.executable, "-c", CHATTY, str(pid_file)]
    if how == "command":
        assert run(argv, timeout=20).ok
    else:
        job = Jobs(tmp_path / "jobs").start("one", argv)
        eventually(lambda: isinstance(job.look(), ExitedJob), "the end of the job")
    daemon = process_in(pid_file)
    try:
        readers = [reader for number in (1, 2) for reader in readers_of(daemon.pid, number)]
        before = written(pid_file)
        eventually(lambda: written(pid_file) > before + 50 or not daemon.alive, "more than a pipe holds")
        assert daemon.alive
    finally:
        Path(f"{pid_file}.end").touch()
    eventually(lambda: not daemon.alive, "the end of the daemon")
    eventually(lambda: not any(reader.alive for reader in readers), "the end of who emptied its pipes")


def readers_of(writer: int, descriptor: int) -> list[Process]:
    """The processes whose standard input is the pipe that this descriptor of the writer leads into."""
    pipe, found = os.readlink(f"/proc/{writer}/fd/{descriptor}"), []
    for pid in all_pids():
        with suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/0") == pipe and (reader := Process.of(pid)):
                found.append(reader)
    return found
