"""The folders of the releases, and the link to the one in use."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import clock
from agent.deployments import releases as module
from agent.deployments.errors import DeploymentFailed
from agent.deployments.releases import Releases, hash_of

HASH = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    made = Releases(tmp_path / "srv/shop")
    made.prepare()
    return made


def names(releases: Releases) -> list[str]:
    return sorted(entry.name for entry in (releases.path / "releases").iterdir())


def made(releases: Releases, number: int) -> str:
    release = f"releases/2026010{number}-000000-{HASH}"
    releases.make(release)
    return release


def test_current_release_exists_at_every_moment_of_a_switch(releases: Releases) -> None:
    first, second = made(releases, 1), made(releases, 2)
    for release in (first, second):
        (releases.path / release / "file").touch()
    releases.switch(first)
    missed, ended = [], threading.Event()

    def look() -> None:
        while not ended.is_set():
            if not (releases.path / "current/file").exists():
                missed.append(1)

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(50):
        releases.switch(second)
        releases.switch(first)
    ended.set()
    looking.join()
    assert not missed and releases.in_use() == first


def test_interrupted_switch_is_done_again(releases: Releases) -> None:
    release = made(releases, 1)
    (releases.path / ".current").symlink_to("half")
    releases.switch(release)
    releases.switch(release)
    assert os.readlink(releases.path / "current") == release
    assert sorted(os.listdir(releases.path)) == ["current", "releases"]


def test_folders_have_mode_0755_with_any_umask(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        releases = Releases(tmp_path / "srv/shop")
        releases.prepare()
        release = made(releases, 1)
    finally:
        os.umask(umask)
    folders = [tmp_path / "srv", releases.path, releases.path / "releases", releases.path / release]
    assert [oct(folder.stat().st_mode & 0o777) for folder in folders] == ["0o755"] * 4


@pytest.mark.parametrize("number", [0, 1, 2])
def test_folder_never_appears_with_a_narrow_mode_despite_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    releases, chmod, left = Releases(tmp_path / "srv/shop"), Path.chmod, [number]

    def killed(folder: Path, mode: int) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        chmod(folder, mode)

    umask = os.umask(0o077)
    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Path, "chmod", killed)
            releases.prepare()
        releases.prepare()
    finally:
        os.umask(umask)
    folders = [folder for folder in tmp_path.rglob("*") if folder.is_dir()]
    assert sorted(folders) == [tmp_path / "srv", releases.path, releases.path / "releases"]
    assert [oct(folder.stat().st_mode & 0o777) for folder in folders] == ["0o755"] * 3


def test_dangling_link_is_no_release(releases: Releases) -> None:
    assert releases.in_use() is None
    (releases.path / "current").symlink_to("releases/gone")
    assert releases.in_use() is None


def test_folder_in_place_of_the_link_is_refused(releases: Releases) -> None:
    (releases.path / "current").mkdir()
    with pytest.raises(DeploymentFailed, match="is no symbolic link"):
        releases.in_use()


def test_release_names_are_unique_and_contain_the_commit(releases: Releases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: 1_567_197_624_000_000)
    first = releases.named(HASH)
    assert first == f"releases/20190830-204024-{HASH}" and hash_of(first) == HASH
    releases.make(first)
    assert releases.named(HASH) == f"releases/20190830-204025-{HASH}"
    assert hash_of("elsewhere/by-hand") is None and hash_of(None) is None


def test_new_release_sorts_last_even_after_the_clock_was_set_back(
    releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: 1_567_197_624_000_000)
    releases.make(releases.named("f" * 40))
    second = releases.named("0" * 40)
    assert second == f"releases/20190830-204025-{'0' * 40}"
    releases.make(second)
    monkeypatch.setattr(clock, "now", lambda: 1_500_000_000_000_000)
    assert releases.named(HASH) == f"releases/20190830-204026-{HASH}"
    (releases.path / f"releases/20191340-000000-{HASH}").mkdir()  # digits that are no date
    assert releases.named(HASH) == f"releases/20170714-024000-{HASH}"


def test_superfluous_releases_exclude_needed_and_foreign_folders(releases: Releases) -> None:
    every = [made(releases, number) for number in range(1, 7)]
    (releases.path / "releases/by-hand").mkdir()
    assert list(releases.superfluous(2, [every[0], every[2]])) == [every[1], every[3]]
    assert list(releases.superfluous(1, [every[0], None])) == every[1:5]


def test_half_removed_release_is_no_release_and_is_swept(releases: Releases) -> None:
    half = f".20260101-000000-{HASH}"
    (releases.path / "releases" / half / "deep").mkdir(parents=True)
    (releases.path / "releases/.mine").mkdir()
    assert list(releases.superfluous(1, [])) == []
    releases.sweep()
    assert names(releases) == [".mine"]


def test_release_made_again_is_empty(releases: Releases) -> None:
    release = made(releases, 1)
    (releases.path / release / "partial").touch()
    releases.make(release)
    assert os.listdir(releases.path / release) == []
    assert releases.remove(release) and releases.remove(release)
    assert names(releases) == []


@pytest.mark.parametrize("left", ["release", "half removed"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_link_or_file_in_place_of_a_release_is_removed_and_not_followed(
    left: str, kind: str, releases: Releases, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "closed").mkdir(parents=True)
    (elsewhere / "closed").chmod(0o500)
    release = f"20260101-000000-{HASH}"
    place = releases.path / "releases" / (release if left == "release" else f".{release}")
    if kind == "link":
        place.symlink_to(elsewhere)
    else:
        place.touch()
    assert releases.remove(f"releases/{release}") if left == "release" else releases.sweep() == []
    assert names(releases) == []
    assert (elsewhere / "closed").stat().st_mode & 0o777 == 0o500


@pytest.fixture
def plain_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A user who may write only in the folder of the test."""
    monkeypatch.chdir(tmp_path)  # the folders above are root's alone
    os.chown(tmp_path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def closed(release: Path) -> None:
    """Folders like those of `go mod download`: not even their owner may remove their content."""
    deep = release / "mod/cache/deep"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    (release / "mod/link").symlink_to("/etc")
    for folder, mode in ((deep, 0o555), (deep.parent, 0o111), (deep.parent.parent, 0o000)):
        folder.chmod(mode)


@pytest.mark.parametrize("half", [False, True], ids=["whole", "half removed"])
def test_unprivileged_user_removes_a_release_with_read_only_folders(plain_user: None, half: bool) -> None:
    releases = Releases(Path("srv"))
    releases.prepare()
    release = made(releases, 1)
    closed(releases.path / release)
    if half:
        os.rename(releases.path / release, releases.path / f"releases/.{Path(release).name}")
        assert releases.sweep() == []
    else:
        assert releases.remove(release)
    assert names(releases) == []


def test_release_that_cannot_be_removed_is_named_each_time(releases: Releases, monkeypatch: pytest.MonkeyPatch) -> None:
    release = made(releases, 1)
    monkeypatch.setattr(module, "remove_tree", lambda path: not path.exists())
    assert not releases.remove(release)
    assert releases.sweep() == releases.sweep() == [f"releases/.{Path(release).name}"]
