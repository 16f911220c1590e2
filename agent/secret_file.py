"""A file that holds one secret: a password, a key to sign with."""

from pathlib import Path


class SecretUnreadable(Exception):
    """The file cannot be read or holds nothing; the message says which and why, and never what is in it."""


def read(path: Path) -> str:
    """What the file holds, without the line's end. Raises `SecretUnreadable`."""
    try:
        secret = path.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SecretUnreadable(f"{path} cannot be read: {reason}") from None
    if not secret:
        raise SecretUnreadable(f"{path} is empty")
    return secret
