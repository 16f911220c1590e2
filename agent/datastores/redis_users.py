"""The users of one Redis: its access control list, and where that is kept over a restart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from agent.datastores import redis_config
from agent.datastores.base import DatastoreRefused

READ = ("+@read", "+@connection", "+@transaction")
WRITE = (*READ, "+@write")
OWN = (*WRITE, "+@scripting", "+@pubsub")
MAY = {"readonly": READ, "readwrite": WRITE, "owner": OWN}

# No key pattern holds for these: they tell of, or take, what belongs to others.
MAY_NOT = (
    "-@admin", "-@dangerous", "-scan", "-randomkey", "-dbsize", "-client|tracking", "-function",
    "-script|flush", "-script|kill", "-script|debug", "-pubsub",
)  # fmt: skip

SEPARATORS = " \t\n\v\f\r\0"


def exists(client: Any, name: str) -> bool:
    return name in client.acl_users()


def create(client: Any, name: str, password: str, prefixes: Sequence[str], privileges: str) -> dict[str, Any]:
    """Create a user of the keys that begin with one of the prefixes and a colon; without a prefix, of none."""
    if exists(client, name):
        raise DatastoreRefused(f"the user {name} exists already")
    _check_can_be_kept(client, [name, *prefixes])
    # One command, so whole or not at all.
    client.execute_command("ACL SETUSER", name, *_rules(password, prefixes, privileges))
    try:
        kept = keep(client)
    except BaseException:
        client.acl_deluser(name)
        raise
    return {"keys": [f"{prefix}:*" for prefix in prefixes]} | kept


def delete(client: Any, name: str) -> dict[str, Any]:
    """Delete a user, which ends its connections. Its keys stay: Redis knows of no owner."""
    if name == "default":
        raise DatastoreRefused("the user default belongs to Redis and cannot be deleted")
    if name == client.acl_whoami():
        raise DatastoreRefused(f"the user {name} is the agent's own")
    keep(client)  # what cannot be kept is not begun
    if not client.acl_deluser(name):
        raise DatastoreRefused(f"there is no user {name}")
    return keep(client)


def keep(client: Any) -> dict[str, Any]:
    """Write the present users where Redis reads them when it starts, and say where that is."""
    if _has_acl_file(client):
        client.acl_save()
        return {"kept_in": "the aclfile"}
    return redis_config.keep(client)


def _rules(password: str, prefixes: Iterable[str], privileges: str) -> list[str]:
    # Redis keeps the SHA-256 of a password, and takes it as well: the password itself is never sent.
    hashed = hashlib.sha256(password.encode()).hexdigest()
    patterns = [f"{_literally(prefix)}:*" for prefix in prefixes]
    keys = [f"~{pattern}" for pattern in patterns]
    channels = [f"&{pattern}" for pattern in patterns if privileges == "owner"]
    return ["reset", "on", f"#{hashed}", *keys, *channels, *MAY[privileges], *MAY_NOT]


def _literally(prefix: str) -> str:
    """The glob that matches this text alone."""
    return "".join(f"\\{each}" if each in "\\*?[" else each for each in prefix)


def _check_can_be_kept(client: Any, words: Iterable[str]) -> None:
    """Redis keeps a user as words of a line; with quotes in its configuration it would not start again."""
    quotes = "" if _has_acl_file(client) or not redis_config.has_file(client) else "'\""
    for word in words:
        if any(each in SEPARATORS for each in word):
            raise DatastoreRefused(f"Redis allows no spaces in the name and the key prefixes of a user: {word!r}")
        if any(each in quotes for each in word):
            raise DatastoreRefused(
                f"Redis can keep a user with a quote in its name or prefixes in an aclfile alone: {word!r}"
            )


def _has_acl_file(client: Any) -> bool:
    return bool(client.config_get("aclfile").get("aclfile"))
