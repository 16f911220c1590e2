"""File access as another user in one thread does not affect the rest of the process."""

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.util.file_access import file_access_as

OTHER = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """The other user's folder, in a folder of root that all may enter."""
    with tempfile.TemporaryDirectory(prefix="agent-") as root:
        Path(root).chmod(0o755)
        theirs = Path(root) / "theirs"
        theirs.mkdir()
        os.chown(theirs, OTHER, OTHER)
        yield theirs


def test_file_access_as_uses_the_rights_of_the_given_user(folder: Path) -> None:
    private = folder.parent / "private"
    private.write_text("root's")
    private.chmod(0o600)
    with file_access_as(OTHER, OTHER):
        (folder / "made").touch()
        with pytest.raises(PermissionError):
            private.read_text()
        assert os.access(folder, os.W_OK, effective_ids=True)
        assert not os.access(folder.parent, os.W_OK, effective_ids=True)
    made = (folder / "made").stat()
    assert (made.st_uid, made.st_gid) == (OTHER, OTHER)
    assert private.read_text() == "root's"


def test_a_nested_file_access_ends_with_the_outer_one(folder: Path) -> None:
    with file_access_as(OTHER, OTHER):
        with file_access_as(OTHER, OTHER):
            pass
        (folder / "made").touch()
    assert (folder / "made").stat().st_uid == OTHER


def test_other_threads_keep_the_rights_of_the_process(folder: Path) -> None:
    inside, leave = threading.Event(), threading.Event()

    def access() -> None:
        with file_access_as(OTHER, OTHER):
            inside.set()
            leave.wait(30)

    heartbeat = folder.parent / "heartbeat"
    heartbeat.touch()
    thread = threading.Thread(target=access)
    thread.start()
    try:
        assert inside.wait(30)
        os.utime(heartbeat, (1, 1))
        (folder.parent / "mine").touch()
    finally:
        leave.set()
        thread.join()
    assert heartbeat.stat().st_mtime == 1
    assert (folder.parent / "mine").stat().st_uid == 0
