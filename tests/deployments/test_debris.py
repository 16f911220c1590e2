"""Leftovers of interrupted deploys: the disk usage does not grow with the number of attempts."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.jobs.jobs import Job, RunningJob as Runs
from agent.kinds.base import Done, Failed, Kind, Running, StepResult
from agent.kinds.base.registry import discover
from agent.processes.process import Process
from agent.util.stop import Stop
from tests.kinds.performing import perform, step_of
from tests.servers.shop import Origin
from tests.servers.stalling import stalling

SENT = 600_000
"""Bytes of a fetch before it stalls."""


class Place:
    """An application of a repository that is not tiny."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.origin = Origin(directory)
        self.origin.commit({"version": "one"})
        self.path = directory / "srv"
        self.deploys = 0

    def kind(self, **options: Any) -> Kind:
        """The kind for one more deploy, with the action `a-<deploys>`."""
        application = {"repository": str(self.origin.path), "path": str(self.path), "timeout": 20.0} | options
        document = {"agent": {"db": str(self.directory / "agent.db")}, "applications": {"shop": application}}
        self.deploys += 1
        return discover(config.parse(document)).get("deploy")

    def deploy(self, **options: Any) -> StepResult:
        return perform(self.kind(**options), action_id=f"a-{self.deploys}", most=1000)[-1]

    def deployed(self, **options: Any) -> dict[str, Any]:
        outcome = self.deploy(**options)
        assert isinstance(outcome, Done), outcome
        return dict(outcome.payload)

    def refused(self, **options: Any) -> str:
        outcome = self.deploy(**options)
        assert isinstance(outcome, Failed), outcome
        return outcome.message

    @property
    def bytes(self) -> int:
        """The size of all files made by deploys."""
        made = [each for each in self.directory.iterdir() if each.name not in ("origin.git", "copy")]
        return sum(file.lstat().st_size for each in made for file in (each, *each.rglob("*")))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def stalled(place: Place) -> Iterator[str]:
    """The address of its repository through a stalling server, after a commit larger than the sent part."""
    place.deployed()
    # Enough objects that git writes a pack.
    place.origin.commit({f"file-{number}": os.urandom(SENT // 50) for number in range(150)})
    with stalling(place.origin.path, SENT) as address:
        yield address


def test_fetches_that_time_out_leave_no_files(place: Place, stalled: str) -> None:
    before = place.bytes
    for _ in range(5):
        assert "timed out and was ended" in place.refused(repository=stalled, timeout=0.5)
        assert place.bytes < before + SENT / 2
    assert not list((place.path / "repository").rglob("*tmp*"))


def test_files_of_a_killed_fetch_are_removed_by_the_next(place: Place) -> None:
    place.deployed()
    mirror = place.path / "repository"
    left = [
        "objects/pack/tmp_pack_a1", "objects/pack/tmp_idx_a1", "objects/pack/.tmp-7-pack-a1.pack", "gc.pid",
        "objects/ab/tmp_obj_a1", "objects/tmp_objdir-incoming-a1/pack", "objects/pack/pack-a1.keep", "index.lock",
    ]  # fmt: skip
    for name in left:
        (mirror / name).parent.mkdir(parents=True, exist_ok=True)
        (mirror / name).write_bytes(b"left")
    place.deployed()
    assert not [name for name in left if (mirror / name).exists()]


def test_repeated_failed_deploys_leave_no_release(place: Place) -> None:
    place.deployed()
    before, releases = place.bytes, os.listdir(place.path / "releases")
    place.origin.commit({"version": os.urandom(SENT)})
    for number in range(5):
        assert "exit status 3" in place.refused(before=[["/bin/sh", "-c", "exit 3"]])
        # A release as left by an agent killed while removing it.
        half = place.path / f"releases/.2026010{number}-000000-{'ab' * 20}"
        half.mkdir()
        (half / "file").write_bytes(bytes(SENT))
    place.deployed()
    assert len(os.listdir(place.path / "releases")) == len(releases) + 1
    assert place.bytes < before + 3 * SENT


@pytest.mark.parametrize("file", ["HEAD", "config", "packed-refs", "objects"])
def test_mirror_broken_by_a_power_cut_is_cloned_again(place: Place, file: str) -> None:
    place.deployed()
    wanted = place.origin.commit({"version": "two"})
    mirror = place.path / "repository"
    if file == "objects":
        for each in [each for each in (mirror / file).rglob("*") if each.is_file()]:
            each.chmod(0o600)
            each.write_bytes(b"")
    else:
        (mirror / file).write_bytes(b"\0" * 64)
    assert place.deployed()["git_hash"] == wanted


def test_objects_missing_at_the_checkout_fail_one_deploy_and_are_fetched_by_the_next(place: Place) -> None:
    place.deployed()
    mirror = place.path / "repository"
    blob = subprocess.run(
        ["git", f"--git-dir={mirror}", "rev-parse", "main:version"], check=True, capture_output=True, text=True
    ).stdout.strip()
    (mirror / "objects" / blob[:2] / blob[2:]).unlink()
    assert place.refused().endswith("was broken and is removed: deploy again; `current` was not switched")
    place.deployed()


def test_broken_repository_does_not_replace_the_mirror(place: Place) -> None:
    place.deployed()
    before = (place.path / "repository").stat().st_ino
    (place.origin.path / "config").write_bytes(b"\0" * 64)
    assert "bad config" in place.refused()
    assert (place.path / "repository").stat().st_ino == before


INTERRUPTED = 50
SIZE = 300_000
"""Bytes of the only file of each commit, and of a fetch."""
KEPT = 5 + 2
"""Number of releases kept by default, plus the current and the previous one."""


def test_fifty_interrupted_deploys_keep_the_disk_usage_bounded(place: Place) -> None:
    place.deployed()
    chance = random.Random(11)
    ends: Counter[str] = Counter()
    for number in range(INTERRUPTED):
        if number % 4 == 0:
            place.origin.commit({"version": os.urandom(SIZE)})
        ends[_interrupted(place, chance)] += 1
    assert set(ends) == {"cancelled", "killed", "failed"}, ends
    # The next deploy removes the leftovers of the job that was killed last.
    place.origin.commit({"version": os.urandom(SIZE)})
    place.deployed()
    assert place.bytes < _bytes(place.origin.path) + (KEPT + 1) * SIZE
    assert not [each for each in (place.path / "repository").rglob("*tmp*") if each.is_file()]
    assert len(os.listdir(place.path / "releases")) <= KEPT
    assert {each.name.split("-")[2] for each in (place.directory / "agent.db.jobs").iterdir()} == {str(place.deploys)}


def _interrupted(place: Place, chance: random.Random) -> str:
    """The outcome of a deploy that was disturbed at a random moment."""
    how = chance.choice(["cancelled", "cancelled", "killed", "killed", "failed"])
    options = {"before": [["/bin/sh", "-c", "exit 3" if how == "failed" else "sleep 0.02"]]}
    if how == "failed":
        assert "exit status 3" in place.refused(**options)
        return how
    kind = place.kind(**options)
    ended = Stop()
    disturbing = threading.Timer(chance.uniform(0.0, 0.3), ended.request, ["cancelled"])
    disturbing.start()
    payload, action_id = None, f"a-{place.deploys}"
    while not ended.requested:
        outcome = kind.step(replace(step_of(kind, payload, action_id=action_id), stop=ended))
        if not isinstance(outcome, Running):
            disturbing.join()
            return how
        payload = outcome.payload
    if how == "killed":
        _kill_jobs(place, action_id)
        # The next agent checks the state once before the action is cancelled.
        outcome = kind.resume(step_of(kind, payload, action_id=action_id))
        payload = outcome.payload if isinstance(outcome, Running) else payload
    kind.cancel(step_of(kind, payload, action_id=action_id))
    return how


def _kill_jobs(place: Place, action_id: str) -> None:
    for directory in (place.directory / "agent.db.jobs").glob(f"*-{action_id}-*"):
        job = Job(directory)
        if isinstance(status := job.look(), Runs) and (runner := Process.of(status.pid)):
            runner.signal(signal.SIGKILL)
            assert runner.await_end(20)


def _bytes(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*"))
