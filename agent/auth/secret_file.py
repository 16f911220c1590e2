"""Reads a file with one secret: a password or a signing key."""

import os
from pathlib import Path

from agent.auth import trusted_file
from agent.auth.trusted_file import Untrusted
from agent.config import validators

SHORTEST_KEY = 16
"""Minimum characters of a signing key: a shorter key can be found by brute force from one signed body."""


class SecretUnreadable(Exception):
    """The file cannot be read, is empty or too short. The message names the file and the reason, never the content."""


def _reason(path: Path, error: Exception) -> str:
    if path.parent == validators.credentials():
        return f"the agent's unit passes no credential {path.name}: add LoadCredential={path.name}:/path/of/the/file"
    if isinstance(error, FileNotFoundError) and not path.is_absolute():
        # Not repeated: the text may be the secret itself.
        return "there is no such file; a file that holds the secret is expected, or credential:NAME"
    return f"{path} cannot be read: {error.strerror if isinstance(error, OSError) else 'it is no text'}"


def read(path: Path, *, shortest: int = 1) -> str:
    """The content of the file without the line end.

    Raises `SecretUnreadable` if the file cannot be read, if another user owns or may write it, or if the secret has
    fewer than `shortest` characters.
    """
    try:
        with path.open() as file:
            trusted_file.check(path, os.fstat(file.fileno()))
            secret = file.read().rstrip("\r\n")
    except Untrusted as error:
        raise SecretUnreadable(str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SecretUnreadable(_reason(path, error)) from None
    if not secret:
        raise SecretUnreadable(f"{path} is empty")
    if len(secret) < shortest:
        raise SecretUnreadable(
            f"{path} holds {len(secret)} characters, and a signing key needs at least {shortest}: "
            "make one with openssl rand -hex 32"
        )
    return secret
