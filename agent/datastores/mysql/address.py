"""Parse the URL of a MySQL or MariaDB: address, user and password."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from agent.errors import ConfigError

FORMS = "mysql://user@host:port or mysql+unix://user@/path/to/socket"
PORT = 3306


@dataclass(frozen=True, slots=True)
class Address:
    """Either `host` and `port`, or `socket`. `password` is the one in the URL."""

    user: str
    host: str | None = None
    port: int = PORT
    socket: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None

    def __str__(self) -> str:
        """The address without user and password, for messages."""
        if self.socket is not None:
            return f"mysql+unix://{self.socket}"
        host = f"[{self.host}]" if ":" in str(self.host) else self.host
        return f"mysql://{host}:{self.port}"


def parse(url: str, option: str, password_file: Path | None = None) -> Address:
    """Parse the URL of an option. Raises `ConfigError` without the URL, which may contain a password."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORT
    except ValueError:
        raise ConfigError(f"{option}: not a url") from None
    if parts.query or parts.fragment or not parts.username:
        raise ConfigError(f"{option}: expected {FORMS}, without options")
    user = unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    if parts.scheme == "mysql" and parts.hostname and parts.path in ("", "/"):
        return Address(user, parts.hostname, port, None, password, password_file)
    if parts.scheme == "mysql+unix" and not parts.hostname and len(parts.path) > 1:
        return Address(user, socket=unquote(parts.path), password=password, password_file=password_file)
    raise ConfigError(f"{option}: expected {FORMS}")
