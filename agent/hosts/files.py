"""Small files, private unless said otherwise, that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def create(path: Path, data: bytes) -> bool:
    """Write a file that must not exist yet; False if another one was first. Whoever gets True is
    the only one to get it."""
    draft = _draft(path, data)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        with suppress(FileNotFoundError):
            os.unlink(draft)
    sync(path.parent)
    return True


def replace(path: Path, data: bytes, *, durable: bool = True, mode: int = 0o600) -> None:
    """Write a file in the place of the one that is there, if any."""
    os.rename(_draft(path, data, durable=durable, mode=mode), path)
    if durable:
        sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file, if there is one."""
    path.unlink(missing_ok=True)
    sync(path.parent)


def read(path: Path) -> bytes | None:
    """What the file holds; None if there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def sync(directory: Path) -> None:
    """Make the names in a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _draft(path: Path, data: bytes, *, durable: bool = True, mode: int = 0o600) -> Path:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        os.unlink(draft)
    # Made by us: what somebody else has put there, who may write in the folder, is not written through.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, mode)  # whatever the umask
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return draft
