"""File access of the calling thread as another user; the other threads of the process keep their own rights."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LIBC = ctypes.CDLL(None)
UNCHANGED = 0xFFFFFFFF
"""An invalid id: with it the call changes nothing and returns the current id."""


@contextmanager
def file_access_as(uid: int, gid: int) -> Iterator[None]:
    """Check and create files as `uid` and `gid` in this thread (setfsuid(2)); needs root.

    seteuid would change all threads, but gunicorn's heartbeat and the agent's database belong to root.
    Raises `PermissionError` if the kernel refuses.
    """
    gid_before = _set(LIBC.setfsgid, gid)
    uid_before = _set(LIBC.setfsuid, uid)
    try:
        yield
    finally:
        _set(LIBC.setfsuid, uid_before)
        _set(LIBC.setfsgid, gid_before)


def _set(function: Callable[[int], int], new: int) -> int:
    """Set an id and return the previous one. The second call verifies it: setfsuid reports no errors."""
    before: int = function(ctypes.c_uint(new)) & UNCHANGED  # type: ignore[arg-type]
    if function(ctypes.c_uint(UNCHANGED)) & UNCHANGED != new:  # type: ignore[arg-type]
        raise PermissionError(f"the kernel does not let this process access files as id {new}")
    return before
