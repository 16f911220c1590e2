"""The search for leftovers finds every leftover and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.servers.leftovers import left_in
from tests.servers.process import await_that


def test_a_left_over_process_is_found_by_directory_argument_and_open_file(server_dir: Path) -> None:
    held = server_dir / "held"
    with held.open("w") as output:
        ways = [
            subprocess.Popen(["sleep", "100"], cwd=server_dir),
            subprocess.Popen(["tail", "-f", held], stdout=subprocess.DEVNULL),
            subprocess.Popen(["sleep", "100"], stdout=output),
        ]
    try:
        pids = {f"process {way.pid}" for way in ways}
        # The kernel shows the arguments of a program some time after Popen has returned.
        await_that(lambda: pids <= {line.partition(":")[0] for line in left_in(str(server_dir))}, 10, "all three")
    finally:
        for way in ways:
            way.kill()
            way.wait()
    assert left_in(str(server_dir)) == []


def test_a_left_over_mount_is_found(server_dir: Path) -> None:
    (server_dir / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", server_dir / "disk"], check=True)
    try:
        assert left_in(str(server_dir)) == [f"mount {server_dir}/disk"]
    finally:
        subprocess.run(["umount", server_dir / "disk"], check=True)
