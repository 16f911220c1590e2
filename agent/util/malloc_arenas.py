"""Where the threads of this process allocate memory: in few arenas, as each keeps what its threads free."""

from contextlib import suppress

M_ARENA_MAX = -8
"""mallopt(3)."""
MOST = 2
"""One for each thread, which is the default of glibc up to eight for each processor, costs several MiB."""


def limit() -> None:
    """For threads to come, and for processes forked from this one. A libc without the setting stays as it is."""
    # `ctypes` around it makes a callback when it is imported, for which a sandbox may have no memory.
    import _ctypes

    with suppress(OSError):
        mallopt = _ctypes.dlsym(_ctypes.dlopen(None, 0), "mallopt")  # type: ignore[arg-type]
        _ctypes.call_function(mallopt, (M_ARENA_MAX, MOST))
