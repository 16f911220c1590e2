"""All changes of setup for one server, in their order, and how each is undone."""

import socket
import sys
from collections.abc import Callable, Iterator, Mapping

from agent import config
from agent.cli.exits import Usage
from agent.cli.setup import access, certificate, configuration, files, programs, record, units
from agent.cli.setup.accounts import account, mongodb, mysql, postgresql, redis
from agent.cli.setup.change import Change, Note
from agent.cli.setup.host import Server
from agent.config import toml
from agent.tools import polkit
from agent.util import atomic_files

OF_KIND: Mapping[str, Callable[[Server, str], account.Account]] = {
    "postgresql": postgresql.account,
    "mysql": mysql.account,
    "redis": redis.account,
    "mongodb": mongodb.account,
}
UNDO_ACCOUNT: Mapping[str, Callable[[Note], str]] = {
    "postgresql": postgresql.undo,
    "mysql": mysql.undo,
    "redis": redis.undo,
    "mongodb": mongodb.undo,
}
UNDO: Mapping[str, Callable[[Note], str]] = {
    "setup": lambda note: "",
    "rule": lambda note: _undo_rule(note),
    "account": lambda note: UNDO_ACCOUNT[note["datastore"]](note),
    "file": files.undo,
    "files": certificate.undo,
    "tokens": access.undo,
    "units": units.undo_start,
}


def choose_user(server: Server, wanted: str | None) -> tuple[str, str]:
    """The user of the agent, and the reason as a sentence."""
    if wanted is not None:
        return wanted, f"The agent runs as {wanted}, the user given by --user."
    if server.kind == "postgresql":
        return server.owner, (
            f"The agent runs as {server.owner}, the owner of the server: a graceful restart and a resync need that "
            "user. --user agent makes a role with fewer rights, which cannot do these two."
        )
    return units.DEFAULT_USER, (
        f"The agent runs as {units.DEFAULT_USER}, a user of its own. "
        + (f"A resync needs --user {server.owner}, the owner of the data." if server.kind != "redis" else "")
    ).strip()


def changes(server: Server, user: str, *, tls: bool) -> list[Change]:
    """The changes to make; reads the host and changes nothing. Raises `Usage` if one of them would be refused."""
    _refuse_another(server, user)
    found = OF_KIND[server.kind](server, user)
    names = tuple(dict.fromkeys((socket.getfqdn(), socket.gethostname()))) if tls else ()
    password_file = account.PASSWORD_FILE if found.password is not None else None
    text = configuration.text(server, found.options, password_file, names)
    config.parse(toml.loads(text), str(configuration.FILE))
    return list(_in_order(server, user, found, names, text))


def _in_order(server: Server, user: str, found: account.Account, names: tuple[str, ...], text: str) -> Iterator[Change]:
    yield from units.install()
    yield from units.user(user)
    if found.password is not None:
        # Before the account, so that the password is known after an interruption.
        purpose = f"the password of the agent in {server.datastore}"
        yield files.write(account.PASSWORD_FILE, found.password + "\n", purpose, mode=0o600, owner=user)
    yield from found.changes
    if names:
        yield certificate.make(names, user)
    yield files.write(configuration.FILE, text, f"the agent of {server.unit}")
    yield units.state(user)
    yield from units.run_as(user)
    yield access.tokens(f"admin@{socket.gethostname()}", user)
    yield _rule(user, server.unit)
    yield units.start()


def _rule(user: str, unit: str) -> Change:
    """The polkit rule; agent-polkit.path replaces it after each change of the configuration."""

    def make() -> None:
        words = ("polkit", "--write", "--user", user, str(configuration.FILE))
        programs.run([sys.executable, "-I", "-m", "agent.cli", *words])

    return Change(f"write {polkit.FILE}: {user} may manage {unit}", polkit.FILE.exists, make, {"what": "rule"})


def _undo_rule(note: Note) -> str:
    atomic_files.remove(polkit.FILE)
    return f"removed {polkit.FILE}"


def _refuse_another(server: Server, user: str) -> None:
    """Raises `Usage` after a run for another server or user: its changes would be replaced only in part."""
    for note in record.read():
        if note["what"] == "setup" and (note["unit"], note["user"]) != (server.unit, user):
            raise Usage(
                f"this host is set up for {note['unit']} with the user {note['user']}: "
                "run agentctl setup --remove first"
            )


def undo(note: Note) -> str:
    """Undo one change. Returns what was done; empty if nothing was left to undo."""
    return UNDO[note["what"]](note)
