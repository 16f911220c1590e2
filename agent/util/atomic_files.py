"""Atomic writes of small files, also across a power cut. The mode is 0600 unless given."""

from __future__ import annotations

import os
from contextlib import suppress

StrPath = str | os.PathLike[str]


def create(path: StrPath, data: bytes, *, sync_folder: bool = True) -> bool:
    """Create a file; False if it exists already. Of several concurrent callers exactly one gets True.

    Without `sync_folder` the caller must sync the folder to make the file survive a power cut.
    """
    draft = _draft(path, data)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        with suppress(FileNotFoundError):
            os.unlink(draft)
    if sync_folder:
        sync(_folder(path))
    return True


def replace(path: StrPath, data: bytes, *, durable: bool = True, mode: int = 0o600) -> None:
    """Write a file, replacing an existing one."""
    os.rename(_draft(path, data, durable=durable, mode=mode), path)
    if durable:
        sync(_folder(path))


def remove(path: StrPath) -> None:
    """Remove a file, if there is one."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    sync(_folder(path))


def read(path: StrPath) -> bytes | None:
    """The content of the file; None if there is no file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def sync(directory: StrPath) -> None:
    """Sync a directory, so that its entries survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _draft(path: StrPath, data: bytes, *, durable: bool = True, mode: int = 0o600) -> str:
    draft = f"{os.fspath(path)}.{os.getpid()}"
    with suppress(FileNotFoundError):
        os.unlink(draft)
    # O_EXCL and O_NOFOLLOW: never write through a file or link that another user placed in the folder.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, mode)  # independent of the umask
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        if durable:
            os.fsync(descriptor)
    except OSError as error:  # such as a full disk: leave no partial file, and name the file in the error
        with suppress(OSError):
            os.unlink(draft)
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        os.close(descriptor)
    return draft


def _folder(path: StrPath) -> str:
    return os.path.dirname(path) or os.curdir
