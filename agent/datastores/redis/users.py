"""Create, change and delete users of one Redis (its ACL), and store them for the next start."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agent.datastores.base import DatastoreRefused, UserChanges
from agent.datastores.redis import config

READ = ("+@read", "+@connection", "+@transaction")
WRITE = (*READ, "+@write")
OWN = (*WRITE, "+@scripting", "+@pubsub")
ALLOWED = {"readonly": READ, "readwrite": WRITE, "owner": OWN}

# Key patterns do not restrict these commands: they show or take data of other users.
DENIED = (
    "-@admin", "-@dangerous", "-scan", "-randomkey", "-dbsize", "-client|tracking", "-function",
    "-script|flush", "-script|kill", "-script|debug", "-pubsub",
)  # fmt: skip

SEPARATORS = " \t\n\v\f\r\0"


def exists(client: Any, name: str) -> bool:
    return name in client.acl_users()


def create(client: Any, name: str, password: str, prefixes: Sequence[str], privileges: str) -> dict[str, Any]:
    """Create a user with access to the keys that begin with a prefix and a colon; without prefixes, to no keys."""
    if (refusal := refusal_to_create(client, name, prefixes)) is not None:
        raise DatastoreRefused(refusal)
    # One command, so that it is atomic.
    client.execute_command("ACL SETUSER", name, *_rules(password, prefixes, privileges))
    try:
        kept = keep(client)
    except BaseException:
        client.acl_deluser(name)
        raise
    return {"keys": [f"{prefix}:*" for prefix in prefixes]} | kept


def delete(client: Any, name: str) -> dict[str, Any]:
    """Delete a user, which ends its connections. Its keys stay: Redis has no owners."""
    if (refusal := refusal_to_change(client, name)) is not None:
        raise DatastoreRefused(refusal)
    keep(client)  # fails before the change if it cannot be stored
    if not client.acl_deluser(name):
        raise DatastoreRefused(f"there is no user {name}")
    return keep(client)


def own_name(client: Any) -> str:
    """The agent's own user."""
    return str(client.acl_whoami())


def refusal_to_create(client: Any, name: str, prefixes: Sequence[str]) -> str | None:
    """The reason why this user cannot be created, or None."""
    if exists(client, name):
        return f"the user {name} exists already"
    return _refusal_to_keep(client, [name, *prefixes])


def refusal_to_change(client: Any, name: str) -> str | None:
    """The reason why this user cannot be changed or deleted, or None."""
    if name == "default":
        return "the user default belongs to Redis"
    if not exists(client, name):
        return f"there is no user {name}"
    return f"the user {name} is the agent's own" if name == own_name(client) else None


def changes_of(client: Any, name: str, changes: UserChanges) -> dict[str, list[str]]:
    """The ACL rules of the changes, by the name of the change; empty if there is nothing to change."""
    user, rules = _rules_of(client, name), {}
    if (passwords := _passwords(user, changes)) != user.passwords:
        rules["password"] = [*(["resetpass"] if user.passwords else []), *passwords]
    if changes.databases is not None or changes.privileges is not None:
        keys = user.keys if changes.databases is None else [f"{_literally(each)}:*" for each in changes.databases]
        with_channels = bool(user.channels) if changes.privileges is None else changes.privileges == "owner"
        channels = keys if with_channels else []
        if sorted(keys) != sorted(user.keys) or sorted(channels) != sorted(user.channels):
            rules["databases"] = ["resetkeys", *(f"~{each}" for each in keys), "resetchannels"]
            rules["databases"] += [f"&{each}" for each in channels]
    if changes.privileges is not None:  # Redis returns the command rules in another form than it received them
        rules["privileges"] = ["-@all", *ALLOWED[changes.privileges], *DENIED]
    if changes.locked is not None and changes.locked != user.locked:
        rules["locked"] = ["off" if changes.locked else "on"]
    return rules


def update(client: Any, name: str, changes: UserChanges) -> dict[str, Any]:
    """Change a user; atomic. Connections of a locked user are ended."""
    if (refusal := refusal_to_change(client, name)) is not None:
        raise DatastoreRefused(refusal)
    if (refusal := _refusal_to_keep(client, [name, *(changes.databases or ())])) is not None:
        raise DatastoreRefused(refusal)
    before = _rules_of(client, name)
    rules = changes_of(client, name, changes)
    client.execute_command("ACL SETUSER", name, *(word for each in rules.values() for word in each))
    try:
        kept = keep(client)
    except BaseException:
        client.execute_command("ACL SETUSER", name, "reset", *before.words)
        raise
    ended = client.client_kill_filter(user=name) if changes.locked else 0
    after = _rules_of(client, name)
    return {
        "changed": sorted(rules),
        "keys": after.keys,
        "passwords": len(after.passwords),
        "locked": after.locked,
        "connections_ended": ended,
    } | kept


@dataclass(frozen=True, slots=True)
class Rules:
    """A user as parsed from a line of ACL LIST; ACL SETUSER with `reset` and `words` restores the same user."""

    words: list[str]

    @property
    def passwords(self) -> list[str]:
        """The password hashes as ACL rules, the newest last."""
        return [word for word in self.words if word.startswith("#")]

    @property
    def keys(self) -> list[str]:
        return [word[1:] for word in self.words if word.startswith("~")]

    @property
    def channels(self) -> list[str]:
        return [word[1:] for word in self.words if word.startswith("&")]

    @property
    def locked(self) -> bool:
        return "off" in self.words


def _rules_of(client: Any, name: str) -> Rules:
    for line in client.acl_list():
        _, user, *words = line.split(" ")
        if user == name:
            return Rules(words)
    raise DatastoreRefused(f"there is no user {name}")


def _passwords(user: Rules, changes: UserChanges) -> list[str]:
    """The rules for a new password: the present one stays valid with `keep_old_password`, else only the new."""
    present = user.passwords[-1:]
    if changes.password is None:
        return present
    new = f"#{_hash(changes.password)}"
    if not changes.keep_old_password:
        return [new]
    return user.passwords if new in user.passwords else [*present, new]


def keep(client: Any) -> dict[str, Any]:
    """Store the present users in the file that Redis reads at its start; returns the place."""
    if _has_acl_file(client):
        client.acl_save()
        return {"kept_in": "the aclfile"}
    return config.keep(client)


def _rules(password: str, prefixes: Iterable[str], privileges: str) -> list[str]:
    patterns = [f"{_literally(prefix)}:*" for prefix in prefixes]
    keys = [f"~{pattern}" for pattern in patterns]
    channels = [f"&{pattern}" for pattern in patterns if privileges == "owner"]
    return ["reset", "on", f"#{_hash(password)}", *keys, *channels, *ALLOWED[privileges], *DENIED]


def _literally(prefix: str) -> str:
    """The glob that matches only this text."""
    return "".join(f"\\{each}" if each in "\\*?[" else each for each in prefix)


def _hash(password: str) -> str:
    """The SHA-256 of a password, which Redis stores and accepts: the password itself is never sent."""
    return hashlib.sha256(password.encode()).hexdigest()


def _refusal_to_keep(client: Any, words: Iterable[str]) -> str | None:
    """Refuse names that Redis cannot store: spaces, and quotes outside of an aclfile, which prevent its start."""
    quotes = "" if _has_acl_file(client) or not config.has_file(client) else "'\""
    for word in words:
        if any(each in SEPARATORS for each in word):
            return f"Redis allows no spaces in the name and the key prefixes of a user: {word!r}"
        if any(each in quotes for each in word):
            return f"Redis can keep a user with a quote in its name or prefixes in an aclfile alone: {word!r}"
    return None


def _has_acl_file(client: Any) -> bool:
    return bool(client.config_get("aclfile").get("aclfile"))
