"""Creates, revokes and rotates tokens. The file stores only their hashes and is replaced atomically."""

import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agent import clock
from agent.auth import token_file_edit, tokens, trusted_file
from agent.auth.identities import Identities, Identity, Token, parse
from agent.auth.tokens import TokensFileMissing
from agent.config.mistakes import Mistake
from agent.errors import ConfigError, NotInFile
from agent.util import drop_privileges

SECOND = 1_000_000
"""Microseconds."""


def create(
    path: Path,
    email: str,
    kinds: Sequence[str],
    *,
    read_only: bool = False,
    permissions: Sequence[str] = (),
    expires: float | None = None,
) -> str:
    """Create a token for a new identity, or one more for an existing identity; return it.

    Only its hash is stored. `expires` is in seconds from now. Raises `ConfigError` for an invalid file or identity, and
    for a file that cannot be read or written.
    """
    token = secrets.token_urlsafe(32)

    def edit(text: str, known: Identities) -> str:
        members = _members(token, expires)
        if email not in known.by_email:
            _refuse_no_permission(kinds, read_only)
            identity: dict[str, Any] = {"kinds": list(kinds), "read_only": read_only}
            identity |= {"permissions": list(permissions)} if permissions else {}
            _refuse_wrong(email, identity | {"tokens": [{"sha256": members["sha256"]}]})
            return token_file_edit.with_token(token_file_edit.with_identity(text, email, identity), email, members)
        if kinds or read_only or permissions:
            raise ConfigError(f"{path}: {email} exists already: leave out --kinds to create one more token for it")
        return token_file_edit.with_token(text, email, members)

    _change(path, edit, new=True)
    return token


def revoke(path: Path, email: str, token_id: str | None = None) -> None:
    """Remove one token; without `token_id`, or with the last one, remove the identity. Raises as `create`."""

    def edit(text: str, known: Identities) -> str:
        identity = _identity(path, known, email)
        if token_id is None or [each.id for each in identity.tokens] == [token_id]:
            return token_file_edit.without_identity(text, email)
        return token_file_edit.without_token(text, email, _token(path, identity, token_id).sha256.hex())

    _change(path, edit)


def rotate(
    path: Path, email: str, token_id: str | None = None, *, overlap: float = 0.0, expires: float | None = None
) -> tuple[str, str]:
    """Replace a token; return the new token and the id of the old one, which stays valid for `overlap` seconds.

    Raises as `create`.
    """
    token, replaced_id = secrets.token_urlsafe(32), ""

    def edit(text: str, known: Identities) -> str:
        nonlocal replaced_id
        replaced = _token(path, _identity(path, known, email), token_id)
        replaced_id = replaced.id
        text = token_file_edit.without_token(text, email, replaced.sha256.hex())
        if overlap > 0:
            text = token_file_edit.with_token(text, email, _ending(replaced, overlap))
        return token_file_edit.with_token(text, email, _members(token, expires))

    _change(path, edit)
    return token, replaced_id


def _members(token: str, expires: float | None) -> dict[str, Any]:
    return {
        "sha256": hashlib.sha256(token.encode()).hexdigest(),
        "created": _moment(0),
        "expires": None if expires is None else _moment(expires),
    }


def _ending(token: Token, seconds: float) -> dict[str, Any]:
    """The same token, expiring in `seconds` or at its own end if that is earlier."""
    end = clock.now() / SECOND + seconds
    return {
        "sha256": token.sha256.hex(),
        "created": token.created and clock.rfc3339(round(token.created * SECOND)),
        "expires": clock.rfc3339(round(min(end, token.expires or end) * SECOND)),
    }


def _moment(seconds: float) -> str:
    return str(clock.rfc3339(clock.now() + round(seconds * SECOND)))


def _refuse_no_permission(kinds: Sequence[str], read_only: bool) -> None:
    if not (kinds or read_only):
        raise ConfigError("name its kinds, such as --kinds 'replicante.service.*', or use --read-only")


def _refuse_wrong(email: str, identity: dict[str, Any]) -> None:
    try:
        parse({email: identity})
    except Mistake as mistake:
        raise ConfigError(str(mistake)) from None


def _identity(path: Path, known: Identities, email: str) -> Identity:
    if email not in known.by_email:
        raise NotInFile(f"{path}: no identity {email}; agentctl token list shows the identities")
    return known.by_email[email]


def _token(path: Path, identity: Identity, token_id: str | None) -> Token:
    """The token of this id, or the only one."""
    found = [each for each in identity.tokens if token_id in (None, each.id)]
    if len(found) != 1:
        ids = ", ".join(each.id for each in identity.tokens) or "none"
        raise ConfigError(f"{path}: name one of the tokens of {identity.email}: {ids}")
    return found[0]


def _change(path: Path, edit: Callable[[str, Identities], str], *, new: bool = False) -> None:
    """Replace the file with the edited text. `new`: create the file if it is missing."""
    drop_privileges.become(path)
    trusted_file.check_folder(path.parent)
    try:
        with _folder(path) as folder:
            text, known = _read(path, folder, new)
            _replace(path, folder, edit(text, known))
    except OSError as error:
        raise ConfigError(_not_written(path, error)) from None


def _not_written(path: Path, error: OSError) -> str:
    """Why the file cannot be changed, and the command that corrects it."""
    folder, user = path.parent, trusted_file.user(os.geteuid())
    if isinstance(error, FileNotFoundError):
        return f"{path}: there is no folder {folder}: run install -d -o {user} -m 0700 {folder}"
    reason = f"{path}: cannot be written: {error.strerror}"
    if not isinstance(error, PermissionError):
        return reason
    if os.geteuid() == drop_privileges.STARTED_BY:
        return f"{reason} for user {user}: run the command as the owner of {folder}, or name another file"
    # The owner of a parent folder could replace this folder, and root would write to a place of that user's choice.
    return f"{reason} for user {user}, who owns a folder above it: run chown {user} {folder}"


def _read(path: Path, folder: int, new: bool) -> tuple[str, Identities]:
    """The text and the identities in it. Raises `ConfigError`, also for a symbolic link: its target may be any file."""
    with suppress(FileNotFoundError):
        if stat.S_ISLNK(os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise ConfigError(f"{path} is a symbolic link: name the file itself")
    try:
        known, _ = tokens.read(path, certificates=True)
        return path.read_text(encoding="utf-8"), known
    except TokensFileMissing:
        if new:
            return "", Identities()
        raise


def _replace(path: Path, folder: int, text: str) -> None:
    """Replace the file atomically; only its owner can read it, before and after."""
    draft = f".{path.name}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(draft, flags, 0o600, dir_fd=folder)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.rename(draft, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(draft, dir_fd=folder)
        raise


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    """The folder, locked: without the lock, concurrent changes would be lost."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
