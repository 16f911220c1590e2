"""Checks for the D-Bus library."""

from functools import cache


@cache
def has_bus() -> bool:
    """Whether sdbus is installed (the extra [systemd])."""
    try:
        import sdbus  # noqa: F401
    except ImportError:
        return False
    return True
