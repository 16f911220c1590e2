"""agentctl token: the identities and tokens of the tokens file."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from agent import clock, config
from agent.auth import token_file, token_last_used, tokens
from agent.auth.identities import PERMISSIONS, Identity, Token
from agent.cli import audit
from agent.cli.host import as_owner, started_by
from agent.cli.options import Decorator, local
from agent.cli.types import DURATION, Several
from agent.log.lines import one_line
from agent.util import drop_privileges

SECOND = 1_000_000
"""Microseconds."""


@click.group("token")
def token_command() -> None:
    """The identities that may call the agent, and their tokens."""


FILE = click.option("--file", type=click.Path(), help="The tokens file; default: api.tokens of the configuration.")
EXPIRES = click.option("--expires", type=DURATION, help="The validity of the token, such as 90d; default: unlimited.")
EMAIL = click.argument("email")


def _of_tokens(name: str, *examples: str) -> Decorator:
    """Decorate a command on the tokens file."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        command = local(name, examples=examples)(FILE(as_owner(function)))
        token_command.add_command(command)
        return command

    return decorate


@_of_tokens("create", "agentctl token create you@example.com --kinds 'replicante.service.*' --expires 90d")
@EMAIL
@click.option("--kinds", cls=Several, help="Globs of the kinds that the identity may schedule.")
@click.option("--read-only", is_flag=True, help="The identity may read, but not schedule.")
@click.option(
    "--permissions",
    cls=Several,
    type=click.Choice(PERMISSIONS),
    help="approve: approve actions; audit: read the audit trail; controller: schedule with a requester CORE_*.",
)
@EXPIRES
def create_command(
    email: str,
    kinds: tuple[str, ...],
    read_only: bool,
    permissions: tuple[str, ...],
    expires: float | None,
    file: str | None,
) -> None:
    """Create a token for an identity and print it, once.

    EMAIL is stored as the user of actions. The file stores only a hash of the token.
    """
    user = started_by()
    _warn_of_no_kind(kinds)
    token = token_file.create(
        _file(file), email, list(kinds), read_only=read_only, permissions=list(permissions), expires=expires
    )
    print(token)
    _note("token.created", user, email, id=_id(token))


@_of_tokens("revoke", "agentctl token revoke you@example.com")
@EMAIL
@click.argument("id", required=False)
def revoke_command(email: str, id: str | None, file: str | None) -> None:
    """Revoke one token, or an identity with all its tokens.

    ID is the id of the token from `agentctl token list`.
    """
    user = started_by()
    token_file.revoke(_file(file), email, id)
    _note("token.revoked", user, email, id=id or "all")


@_of_tokens("rotate", "agentctl token rotate you@example.com --overlap 1d")
@EMAIL
@click.argument("id", required=False)
@click.option("--overlap", type=DURATION, default="0s", help="How long the old token stays valid; default: 0s.")
@EXPIRES
def rotate_command(email: str, id: str | None, overlap: float, expires: float | None, file: str | None) -> None:
    """Replace a token and print the new one.

    ID is the id of the token from `agentctl token list`; it may be left out if the identity has only one.
    """
    user = started_by()
    token, replaced = token_file.rotate(_file(file), email, id, overlap=overlap, expires=expires)
    print(token)
    _note("token.rotated", user, email, id=_id(token), replaced=replaced)


def _warn_of_no_kind(globs: tuple[str, ...]) -> None:
    """Warn about globs that match no kind. The token is still created: a kind may be configured later."""
    from agent.cli.checking import unmatched
    from agent.kinds.base.registry import discover

    for warning in unmatched(globs, discover(config.load())):
        print(f"warning: --kinds: {warning}: the token gets no permission from it", file=sys.stderr)


def _id(token: str) -> str:
    return Token(hashlib.sha256(token.encode()).digest()).id


def _note(event: str, user: str, email: str, **details: str) -> None:
    """Add an event to the audit trail; a failure is only printed, because the token is changed already."""
    if reason := audit.note(config.load().agent.db, event, user, {"identity": email} | details):
        print(f"not recorded in the audit trail: {one_line(reason)}", file=sys.stderr)


@_of_tokens("list", "agentctl token list")
def list_command(file: str | None) -> None:
    """Print the identities, the ids of their tokens, and the last use of each."""
    _list(_file(file))


def _list(file: Path) -> None:
    uses = _uses(file)
    drop_privileges.become(file)
    found, _ = tokens.read(file, certificates=True)
    drop_privileges.become(uses)
    used = token_last_used.read(uses)
    print(f"{'IDENTITY':32} {'TOKEN':12} {'EXPIRES':20} {'LAST USED':20} MAY SCHEDULE")
    for identity in found.by_email.values():
        for token in identity.tokens:
            ends = [each for each in (identity.expires, token.expires) if each is not None]
            _print(identity.email, token.id, min(ends, default=None), used.get(token.id), identity)
        if not identity.tokens:
            _print(identity.email, "certificate", identity.expires, used.get(identity.email), identity)
    for name, identity in found.unix.items():
        shown = name if not name.startswith("@") else f"group {name[1:]}"
        _print(shown, "socket", identity.expires, used.get(f"unix.{name}"), identity)


def _print(name: str, token: str, expires: float | None, used: str | None, identity: Identity) -> None:
    kinds = "nothing, read only" if identity.read_only else " ".join(identity.globs)
    if identity.permissions:
        kinds += f" (permissions: {', '.join(sorted(identity.permissions))})"
    print(f"{name:32} {token:12} {_until(expires):20} {used or 'never':20} {kinds}")


def _until(expires: float | None) -> str:
    if expires is None:
        return "never"
    if expires * SECOND <= clock.now():
        return "expired"
    return str(clock.rfc3339(round(expires * SECOND)))


def _file(file: str | None) -> Path:
    return Path(file or config.load().api.tokens or "tokens.toml")


def _uses(file: Path) -> Path:
    """The file of last uses. A relative agent.db is taken to be beside the tokens file."""
    db = config.load().agent.db
    return token_last_used.path_beside(db if db.is_absolute() else file.parent / db.name)
