"""Small files, private unless said otherwise, that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import os
from contextlib import suppress

StrPath = str | os.PathLike[str]


def create(path: StrPath, data: bytes, *, sync_folder: bool = True) -> bool:
    """Write a file that must not exist yet; False if another one was first. The caller that gets True is
    the only one to get it. Without `sync_folder` it survives a power cut once the caller has synced the folder."""
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
    """Write a file in the place of the one that is there, if any."""
    os.rename(_draft(path, data, durable=durable, mode=mode), path)
    if durable:
        sync(_folder(path))


def remove(path: StrPath) -> None:
    """Remove a file, if there is one."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    sync(_folder(path))


def read(path: StrPath) -> bytes | None:
    """What the file holds; None if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def sync(directory: StrPath) -> None:
    """Make the names in a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _draft(path: StrPath, data: bytes, *, durable: bool = True, mode: int = 0o600) -> str:
    draft = f"{os.fspath(path)}.{os.getpid()}"
    with suppress(FileNotFoundError):
        os.unlink(draft)
    # Created by this process: a file or link that another user placed in the folder is not written through.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, mode)  # whatever the umask
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        if durable:
            os.fsync(descriptor)
    except OSError as error:  # a full disk: neither the rest of a file nor an error that names none
        with suppress(OSError):
            os.unlink(draft)
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        os.close(descriptor)
    return draft


def _folder(path: StrPath) -> str:
    return os.path.dirname(path) or os.curdir
