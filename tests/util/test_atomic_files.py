"""Small files are written completely or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.util import atomic_files


@pytest.mark.parametrize("write", [atomic_files.create, atomic_files.replace])
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_full_disk_leaves_no_draft_and_the_error_names_the_file(
    write: Callable[[Path, bytes], object], call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError) as raised:
        write(tmp_path / "note", b"text")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(tmp_path / "note"))
    assert os.listdir(tmp_path) == []
