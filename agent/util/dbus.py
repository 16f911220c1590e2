"""Whether systemd can be asked over D-Bus."""

from functools import cache


@cache
def has_bus() -> bool:
    """Whether the library for D-Bus is installed, the extra [systemd]."""
    try:
        import sdbus  # noqa: F401
    except ImportError:
        return False
    return True
