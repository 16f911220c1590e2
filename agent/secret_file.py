"""A file that holds one secret: a password, a key to sign with."""

from pathlib import Path

from agent import checks


class SecretUnreadable(Exception):
    """The file cannot be read or holds nothing; the message says which and why, and never what is in it."""


def _why_not(path: Path, error: Exception) -> str:
    if path.parent == checks.credentials():
        return f"the agent's unit gives it no credential {path.name}: add LoadCredential={path.name}:/path/of/the/file"
    if isinstance(error, FileNotFoundError) and not path.is_absolute():
        # Not repeated: somebody may have written the secret itself.
        return "there is no such file; a file that holds the secret is expected, or credential:NAME"
    return f"{path} cannot be read: {error.strerror if isinstance(error, OSError) else 'it is no text'}"


def read(path: Path) -> str:
    """What the file holds, without the line's end. Raises `SecretUnreadable`."""
    try:
        secret = path.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SecretUnreadable(_why_not(path, error)) from None
    if not secret:
        raise SecretUnreadable(f"{path} is empty")
    return secret
