"""Creates the agent's user in Redis or Valkey, with the password of `default` from the environment or configuration."""

import hashlib
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agent.cli.exits import Usage
from agent.cli.setup.accounts import account as accounts, users_file
from agent.cli.setup.accounts.account import Account
from agent.cli.setup.change import Change, Note
from agent.cli.setup.host import Server

SECONDS = 30
RIGHTS = (
    "+info +role +shutdown +acl|users +acl|whoami +acl|list +acl|setuser +acl|deluser +client|kill "
    "+config|get +config|set +config|rewrite +replicaof +failover +multi +exec +set +del ~agent:probe:*"
)
"""The rights of docs/redis.rst."""


def account(server: Server, user: str) -> Account:
    """A user with a password; Redis stores its hash. Raises `Usage`."""
    file, url = _file(server), _url(server)
    password = accounts.password()
    with _admin(url, file) as client:
        kept_in = _kept_in(client)
        if not kept_in:
            raise Usage(
                f"{server.unit} has no configuration file to keep users in: write /etc/agent/agent.toml by hand"
            )
        if user in client.acl_users() and not accounts.PASSWORD_FILE.exists():
            raise Usage(
                f"{server.datastore} has a user {user} that setup did not make: delete it, or name another --user"
            )
    note: Note = {"what": "account", "datastore": "redis", "user": user, "url": url, "file": str(file or "")}

    def create() -> None:
        with _admin(url, file) as client:
            rights = RIGHTS.split() + (["+acl|save"] if client.config_get("aclfile").get("aclfile") else [])
            secret = hashlib.sha256(password.encode()).hexdigest()
            client.execute_command("ACL", "SETUSER", user, "reset", "on", f"#{secret}", *rights)
            line = next(each for each in client.acl_list() if each.split()[1] == user)
        users_file.remove(kept_in, user)
        users_file.add(kept_in, line)

    def is_made() -> bool:
        with _admin(url, file) as client:
            return user in client.acl_users()

    rights = "the rights of docs/redis.rst, a random password"
    description = f"create the user {user} in {server.datastore}, kept in {kept_in}: {rights}"
    login = quote(user, safe="")
    options = {"url": f"{url}?username={login}" if url.startswith("unix:") else url.replace("://", f"://{login}@")}
    return Account(options, (Change(description, is_made, create, note),), password)


def undo(note: Note) -> str:
    """Delete the user. Returns what was done. Raises `Usage`."""
    user = note["user"]
    with _admin(note["url"], Path(note["file"]) if note["file"] else None) as client:
        kept_in = _kept_in(client)
        if user not in client.acl_users() and not users_file.has(kept_in, user):
            return ""
        client.acl_deluser(user)
    users_file.remove(kept_in, user)
    return f"deleted the user {user} of Redis"


def _kept_in(client: Any) -> str:
    """The file with the users; empty if the server has none."""
    return client.config_get("aclfile").get("aclfile") or client.info("server").get("config_file") or ""


def _url(server: Server) -> str:
    if server.listens.ports:
        return f"redis://127.0.0.1:{server.listens.ports[0]}"
    if server.listens.sockets:
        return f"unix://{server.listens.sockets[0]}"
    raise Usage(f"{server.unit} listens neither on 127.0.0.1 nor on a unix socket: write /etc/agent/agent.toml by hand")


def _file(server: Server) -> Path | None:
    """The configuration file that the unit names."""
    return next((Path(word) for word in server.command[1:] if word.startswith("/") and Path(word).is_file()), None)


def _admin_password(file: Path | None) -> str | None:
    """$REDISCLI_AUTH, else the last `requirepass` of the configuration file."""
    if given := os.environ.get("REDISCLI_AUTH"):
        return given
    found = None
    for line in file.read_text().splitlines() if file and file.is_file() else ():
        if re.match(r"\s*requirepass\s", line):
            with suppress(ValueError, IndexError):
                found = shlex.split(line)[1]
    return found or None


@contextmanager
def _admin(url: str, file: Path | None) -> Iterator[Any]:
    """A client of the user `default`. Raises `Usage`, also for errors of commands."""
    try:
        import redis
    except ImportError:
        raise Usage("the driver is missing: install the agent with its extra [redis]") from None
    try:
        login = {"password": _admin_password(file), "socket_timeout": SECONDS, "decode_responses": True}
        with closing(redis.Redis.from_url(url, **login)) as client:
            yield client
    except redis.exceptions.AuthenticationError:
        raise Usage(f"{url} refuses its user default: name its password in $REDISCLI_AUTH") from None
    except redis.exceptions.RedisError as error:
        raise Usage(f"{url}: {error}") from None
