"""agentctl token: who may call, and with which tokens."""

import argparse
import hashlib
import os
import pwd
import re
import sys
from pathlib import Path

from agent import cli_events, clock, config, log, owner, token_file, token_use, tokens
from agent.identities import PERMISSIONS, Identity, Token

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SECOND = 1_000_000
"""Microseconds."""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Let agentctl know of `token` and its commands."""
    found = commands.add_parser("token", help="who may call").add_subparsers(metavar="COMMAND", required=True)
    create = found.add_parser("create", help="make a token for an identity and print it, once")
    create.add_argument("email", help="who it is for; actions are recorded under it")
    create.add_argument("--kinds", nargs="+", action="extend", default=[], help="what it may schedule: globs of kinds")
    create.add_argument("--read-only", action="store_true", help="it may look and schedule nothing")
    create.add_argument(
        "--permissions", nargs="+", action="extend", default=[], choices=PERMISSIONS, help="audit: read the audit trail"
    )
    create.add_argument("--expires", type=_duration, help="how long it is valid, such as 90d; for good unless given")
    create.set_defaults(run=_create)
    show = found.add_parser("list", help="print the identities, their tokens by id, and when each was last used")
    show.set_defaults(run=_list)
    revoke = found.add_parser("revoke", help="take back one token, or an identity with all of its tokens")
    revoke.add_argument("email", help="the identity")
    revoke.add_argument("id", nargs="?", help="the token, as list prints it; the whole identity unless given")
    revoke.set_defaults(run=_revoke)
    rotate = found.add_parser("rotate", help="print a new token in the place of one")
    rotate.add_argument("email", help="the identity")
    rotate.add_argument("id", nargs="?", help="the token, as list prints it; the only one unless given")
    rotate.add_argument(
        "--overlap", type=_duration, default=0.0, help="how long the old token stays valid; 0s unless given"
    )
    rotate.add_argument("--expires", type=_duration, help="how long the new token is valid; for good unless given")
    rotate.set_defaults(run=_rotate)
    for each in (create, show, revoke, rotate):
        each.add_argument("--file", help="the file of tokens; api.tokens of the configuration unless given")


def _create(arguments: argparse.Namespace) -> None:
    user = _who()
    token = token_file.create(
        _file(arguments),
        arguments.email,
        arguments.kinds,
        read_only=arguments.read_only,
        permissions=arguments.permissions,
        expires=arguments.expires,
    )
    print(token)
    _note("token.created", user, arguments.email, id=_id(token))


def _revoke(arguments: argparse.Namespace) -> None:
    user = _who()
    token_file.revoke(_file(arguments), arguments.email, arguments.id)
    _note("token.revoked", user, arguments.email, id=arguments.id or "all")


def _rotate(arguments: argparse.Namespace) -> None:
    overlap, expires = arguments.overlap, arguments.expires
    user = _who()
    token = token_file.rotate(_file(arguments), arguments.email, arguments.id, overlap=overlap, expires=expires)
    print(token)
    _note("token.rotated", user, arguments.email, id=_id(token), replaced=arguments.id or "the only one")


def _who() -> str:
    """The user of this host who gave the command."""
    uid = owner.STARTED_BY
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    behind = os.environ.get("SUDO_USER", "")
    return f"{behind} as {name}" if behind and uid == 0 else name


def _id(token: str) -> str:
    return Token(hashlib.sha256(token.encode()).digest()).id


def _note(event: str, user: str, email: str, **details: str) -> None:
    """Add to the audit trail of the configured agent; the token is made or revoked all the same."""
    if reason := cli_events.note(config.load().agent.db, event, user, {"identity": email} | details):
        print(f"the audit trail does not have it: {log.one_line(reason)}", file=sys.stderr)


def _list(arguments: argparse.Namespace) -> None:
    file = _file(arguments)
    uses = _uses(file)
    owner.become(file)
    found, _ = tokens.read(file, certificates=True)
    owner.become(uses)
    used = token_use.read(uses)
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


def _file(arguments: argparse.Namespace) -> Path:
    return Path(arguments.file or config.load().api.tokens or "tokens.toml")


def _uses(file: Path) -> Path:
    """The database of the agent is beside the file of tokens unless the configuration names another place."""
    db = config.load().agent.db
    return token_use.path_beside(db if db.is_absolute() else file.parent / db.name)


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected a number and s, m, h or d, such as 90d, got {text!r}")
    return float(found[1]) * UNITS[found[2]]
