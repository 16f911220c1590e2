"""New tokens: written into the file as a hash only, which is replaced as a whole."""

import fcntl
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent import tokens
from agent.checks import Wrong
from agent.errors import ConfigError


def create(path: Path, email: str, kinds: Sequence[str], *, read_only: bool = False) -> str:
    """A token for a new identity, which nothing but the return value tells.

    Raises `ConfigError` for a file that is wrong already or has the identity, `OSError` where it cannot be written.
    """
    path = path.resolve()
    token = secrets.token_urlsafe(32)
    identity = {"sha256": hashlib.sha256(token.encode()).hexdigest(), "kinds": list(kinds), "read_only": read_only}
    try:
        tokens.parse({email: identity})
    except Wrong as wrong:
        raise ConfigError(str(wrong)) from None
    with _alone(path.parent):
        before = _text(path)
        if before and email in tokens.read(path, certificates=True)[0]:
            raise ConfigError(f"{path}: {email} is in it already: remove its table first")
        _replace(path, f"{before.rstrip()}\n\n".lstrip() + _table(email, identity))
    return token


def _table(email: str, identity: Mapping[str, Any]) -> str:
    # JSON's texts, lists of them and booleans are TOML's too.
    members = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in identity.items()]
    return "\n".join([f"[{json.dumps(email, ensure_ascii=False)}]", *members]) + "\n"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except ValueError:
        raise ConfigError(f"{path}: not TOML: it is not UTF-8") from None


def _replace(path: Path, text: str) -> None:
    """The file is the old one or the new one at any moment, and always its owner's alone."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            # Made by root for an agent that is not root: whoever has the file, or else the directory, keeps it.
            owner = (path if path.exists() else path.parent).stat()
            if os.geteuid() == 0:
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One at a time: what another writes in between would be lost."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
