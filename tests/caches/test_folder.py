"""A cache folder is emptied, and nothing outside of it is removed, whatever other users create in it meanwhile."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.caches import folder as module
from agent.caches.base import CacheFailed
from agent.caches.folder import Folder
from agent.config import CacheSettings
from agent.util.stop import Stop


def clear(path: Path, stop: Stop | None = None) -> tuple[dict[str, int], str | None]:
    """The sum freed by all calls, and the problem of the last one."""
    freed: dict[str, int] = {}
    while True:
        cleared = Folder(CacheSettings(kind="folder", path=path)).clear(stop or Stop())
        freed = {unit: freed.get(unit, 0) + count for unit, count in cleared.freed.items()}
        if not cleared.unfinished:
            return freed, cleared.problem


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with five files of three bytes, on three levels, beside a file outside of it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("keep")
    cache = tmp_path / "cache"
    (cache / "a" / "b").mkdir(parents=True)
    (cache / "empty").mkdir()
    for name in ("1", "2", "a/3", "a/b/4", "a/b/.5"):
        (cache / name).write_text("abc")
    return cache


def precious(cache: Path) -> bool:
    return (cache.parent / "outside" / "precious").read_text() == "keep"


def test_folder_is_emptied_and_kept(cache: Path) -> None:
    inode = cache.stat().st_ino
    assert clear(cache) == ({"files": 5, "bytes": 15}, None)
    assert list(cache.iterdir()) == [] and cache.stat().st_ino == inode


def test_empty_folder_frees_nothing(cache: Path) -> None:
    clear(cache)
    assert clear(cache) == ({"files": 0, "bytes": 0}, None)


def test_file_with_another_hard_link_frees_no_bytes(cache: Path) -> None:
    os.link(cache.parent / "outside" / "precious", cache / "other-name")
    assert clear(cache) == ({"files": 6, "bytes": 15}, None)
    assert precious(cache)


def test_symbolic_links_are_removed_and_their_targets_kept(cache: Path) -> None:
    (cache / "to-folder").symlink_to(cache.parent / "outside")
    (cache / "a" / "to-file").symlink_to(cache.parent / "outside" / "precious")
    (cache / "to-nothing").symlink_to("/nowhere")
    (cache / "loop").symlink_to(cache)
    assert clear(cache) == ({"files": 9, "bytes": 15}, None)
    assert precious(cache) and list(cache.iterdir()) == []


def test_pipes_sockets_and_odd_names_are_removed(cache: Path) -> None:
    os.mkfifo(cache / "pipe")
    for name in (b"\xff\xfe", b"-rf", b"new\nline", b" "):
        Path(os.fsdecode(os.fsencode(cache) + b"/" + name)).write_bytes(b"")
    assert clear(cache) == ({"files": 10, "bytes": 15}, None)


def test_symbolic_link_in_place_of_the_folder_is_refused(cache: Path) -> None:
    link = cache.parent / "link"
    link.symlink_to(cache)
    with pytest.raises(CacheFailed, match=r"link cannot be cleared: \S+/link is a symbolic link$"):
        clear(link)
    assert (cache / "1").exists()


def test_symbolic_link_in_a_parent_of_the_folder_is_refused(cache: Path) -> None:
    link = cache.parent / "link"
    link.symlink_to(cache)
    with pytest.raises(CacheFailed, match=r"link/a cannot be cleared: \S+/link is a symbolic link$"):
        clear(link / "a")
    assert (cache / "a/3").exists()


@pytest.mark.parametrize("make, why", [(None, "No such file or directory"), ("file", "Not a directory")])
def test_missing_folder_or_a_file_in_its_place_is_reported(make: str | None, why: str, tmp_path: Path) -> None:
    path = tmp_path / "cache"
    if make:
        path.write_text("")
    with pytest.raises(CacheFailed) as failed:
        clear(path)
    assert str(failed.value) == f"the folder {path} cannot be cleared: {why}"


def test_folder_replaced_by_a_link_during_the_clearing_is_not_followed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment between the check of an entry and its opening, which no other process can hit reliably."""
    really_open = os.open

    def swap_and_open(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "a":
            (cache / "a").rename(cache.parent / "moved")
            (cache / "a").symlink_to(cache.parent / "outside")
        return really_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr("agent.caches.folder.os.open", swap_and_open)
    freed, problem = clear(cache)
    assert precious(cache) and (cache.parent / "moved" / "3").exists()
    assert freed["files"] == 2 and problem is not None and "the first is a: Not a directory" in problem


def test_links_created_and_removed_during_the_clearing_are_not_followed(cache: Path) -> None:
    """Another thread swaps a folder for a link out of the cache, repeatedly."""
    done, swaps = threading.Event(), 0

    def swap() -> None:
        nonlocal swaps
        while not done.is_set():
            swaps += 1
            entry = cache / f"x{swaps % 20}"
            try:
                entry.mkdir()
                (entry / "file").write_text("abc")
                os.rename(entry, f"{entry}.away")
                entry.symlink_to(cache.parent / "outside")
            except OSError:
                continue

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while swaps <= 100 and time.monotonic() < deadline:
            clear(cache)
    finally:
        done.set()
        thread.join(10)
    assert precious(cache) and swaps > 100


@pytest.fixture(params=["tmpfs", "bind"])
def mounted(cache: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A mount in the cache: another file system, or a folder of the same one."""
    point = cache / "a" / "mounted"
    point.mkdir()
    how = ["-t", "tmpfs", "none"] if request.param == "tmpfs" else ["--bind", str(cache.parent / "outside")]
    subprocess.run(["mount", *how, str(point)], check=True)
    try:
        (point / "precious").write_text("keep")
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


def test_mounted_file_system_is_kept_and_reported(cache: Path, mounted: Path) -> None:
    freed, problem = clear(cache)
    assert (mounted / "precious").read_text() == "keep"
    assert freed == {"files": 5, "bytes": 15}
    left = f"1 of the entries of {cache} cannot be removed"
    assert problem == f"{left}, the first is a/mounted: something is mounted there"


def test_files_that_cannot_be_removed_are_reported_with_the_freed_amount(cache: Path) -> None:
    with busy(cache / "a" / "3"), busy(cache / "2"):
        freed, problem = clear(cache)
    assert freed == {"files": 3, "bytes": 9}
    assert problem is not None and problem.startswith(f"2 of the entries of {cache} cannot be removed, the first is ")
    assert problem.endswith((" 2: Device or resource busy", " a/3: Device or resource busy"))


@contextmanager
def busy(file: Path) -> Iterator[None]:
    """A file that not even root can remove: something is mounted on it."""
    subprocess.run(["mount", "--bind", str(file), str(file)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(file)], check=True)


def test_stop_keeps_the_remaining_files(cache: Path) -> None:
    stop = Stop()
    stop.request("cancelled")
    cleared = Folder(CacheSettings(kind="folder", path=cache)).clear(stop)
    assert cleared.unfinished and cleared.freed["files"] == 0 and (cache / "1").exists()


def test_large_folder_takes_several_calls(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 0.0)
    first = Folder(CacheSettings(kind="folder", path=cache)).clear(Stop())
    assert first.unfinished and 0 <= first.freed["files"] <= 1
    freed, problem = clear(cache)
    assert freed["files"] + first.freed["files"] == 5 and problem is None and list(cache.iterdir()) == []


def test_too_deep_folder_is_reported_and_the_rest_removed(cache: Path) -> None:
    deep = cache
    for _ in range(module.DEEPEST + 1):
        deep /= "d"
        deep.mkdir()
    freed, problem = clear(cache)
    assert freed["files"] == 5 and problem is not None and problem.startswith("1 of the entries of")
    assert problem.endswith(f"it lies more than {module.DEEPEST} folders deep")
