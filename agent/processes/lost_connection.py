"""Recognizes messages of systemctl and systemd-run about a lost connection to systemd or dbus: not a refusal."""

LOST = (
    "Transport endpoint is not connected",
    "Connection reset by peer",
    "Connection refused",
    "Connection terminated",
    "Connection timed out",
    "Broken pipe",
    "disconnected from message bus without replying",
    "Remote peer disconnected",
    "Failed to connect to bus",
    "Could not activate remote peer",
    "Failed to activate service",
    "was not provided by any .service files",
)


def is_lost(message: str) -> bool:
    """Whether the program lost its connection: the request may have taken effect."""
    return any(words in message for words in LOST)
