"""What systemctl and systemd-run say where systemd or dbus goes down while they are asked: no answer, not a refusal."""

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


def is_lost(said: str) -> bool:
    """Whether the program lost its connection: the request may have taken effect."""
    return any(words in said for words in LOST)
