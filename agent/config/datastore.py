"""The options of the datastore: its service, the server itself, and actions of the operator's own on it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.config import validators
from agent.config.mistakes import NOTHING, Mistake
from agent.config.option import option, required, subtables, table


@dataclass(frozen=True)
class Service:
    """The datastore's own service, and what supervises it."""

    supervisor: str = option("systemd", validators.one_of("systemd", "commands"), "Who starts and stops it.")
    unit: str | None = option(None, validators.text, "The unit, for systemd.", '"postgresql@15-main.service"')
    pid: tuple[str, ...] = option(
        (),
        validators.command,
        "Prints the main pid while it runs, for commands.",
        '["pidof", "-s", "redis-server"]',
    )
    start: tuple[str, ...] = option(
        (), validators.command, "Starts it, for commands.", '["/etc/init.d/redis", "start"]'
    )
    stop: tuple[str, ...] = option((), validators.command, "Stops it, for commands.", '["/etc/init.d/redis", "stop"]')
    attempts: int = option(30, validators.positive_integer, "How many times to look whether it is up (or down).")
    interval: float = option(1.0, validators.positive_number, "Seconds between two looks.")
    timeout: float = option(60.0, validators.positive_number, "Seconds one command of the supervisor may take.")

    def __post_init__(self) -> None:
        needed = ("unit",) if self.supervisor == "systemd" else ("pid", "start", "stop")
        for name in needed:
            if not getattr(self, name):
                raise Mistake(f'a value, as supervisor is "{self.supervisor}"', NOTHING, at=name)


@dataclass(frozen=True)
class Peer:
    """Another server of the same group, which this one may follow: `primary` of an action names it."""

    url: str = required(validators.text, "How the agent connects to it.", '"postgresql://agent@10.0.0.2:5432/postgres"')
    password_file: Path | None = option(
        None, validators.secret_file, "A file that holds that user's password alone.", '"/etc/agent/peer.password"'
    )
    replication_user: str | None = option(
        None,
        validators.text,
        "The account that this server replicates with; the user of the url by default.",
        '"replicator"',
    )
    replication_password_file: Path | None = option(
        None,
        validators.secret_file,
        "A file that holds the password of replication_user alone.",
        '"/etc/agent/replicator.password"',
    )


@dataclass(frozen=True)
class Datastore:
    """The datastore itself."""

    kind: str = required(
        validators.one_of("postgresql", "mysql", "redis", "mongodb"),
        "Which server it is; mysql is MariaDB too.",
        '"redis"',
    )
    url: str = required(validators.text, "How the agent connects to it.", '"unix:///run/redis/redis.sock"')
    password_file: Path | None = option(
        None, validators.secret_file, "A file that holds the password alone.", '"/etc/agent/redis.password"'
    )
    timeout: float = option(30.0, validators.positive_number, "Seconds one command to it may take.")
    primary: str | None = option(
        None, validators.text, "Whom a resync follows, where the replica does not know it.", '"redis://10.0.0.2:6379"'
    )
    primary_password_file: Path | None = option(
        None,
        validators.secret_file,
        "A file that holds the password for the primary alone.",
        '"/etc/agent/primary.password"',
    )
    data_directory: Path | None = option(
        None,
        validators.path,
        "Where its data lies, for a resync of a server that is down.",
        '"/var/lib/postgresql/15/main"',
    )
    programs: Path | None = option(
        None, validators.path, "Where its programs lie, where PATH does not tell.", '"/usr/lib/postgresql/15/bin"'
    )
    peers: Mapping[str, Peer] = subtables(Peer, "db-2")


@dataclass(frozen=True)
class ExternalArgument:
    """One argument of an action of your own."""

    type: str = required(
        validators.one_of("string", "integer", "number", "boolean", "list", "object"), "Its JSON type.", '"string"'
    )
    required: bool = option(False, validators.truth, "Whether the caller must give it.")
    secret: bool = option(False, validators.truth, "Whether it is masked wherever it would be shown; strings only.")
    description: str = option("", validators.text, "What it is, for people.", '"The table"')

    def __post_init__(self) -> None:
        if self.secret and self.type != "string":
            raise Mistake('"string", as secret is true', self.type, at="type")


def arguments(value: Any) -> dict[str, ExternalArgument]:
    """A table for each argument, by its name."""
    if not isinstance(value, Mapping):
        raise Mistake("a table for each argument", value)
    declared = {}
    for name, content in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", name):
            raise Mistake("names of letters, digits, dashes and underscores", name)
        declared[name] = table(ExternalArgument, content, name)
    return declared


@dataclass(frozen=True)
class ExternalAction:
    """An action of your own, as a pair of commands: kind `external.NAME`."""

    action: tuple[str, ...] = required(
        validators.command, "Starts it and returns at once.", '["/usr/local/bin/vacuum", "start"]'
    )
    check: tuple[str, ...] = required(
        validators.command, "Prints how it stands, as JSON.", '["/usr/local/bin/vacuum", "check"]'
    )
    description: str = option("", validators.text, "What it does, for people.", '"Vacuum every table"')
    args: Mapping[str, ExternalArgument] | None = option(
        None,
        arguments,
        "Its arguments, each with type, required and secret. Without it any JSON is taken, and nothing is masked.",
        '{ table = { type = "string", required = true }, password = { type = "string", secret = true } }',
    )
    unit: str | None = option(
        None,
        validators.template,
        "The template that the commands start as NAME@<action id>.service; `agentctl polkit` permits that.",
        '"vacuum@.service"',
    )
    timeout: float = option(60.0, validators.positive_number, "Seconds each of the two commands may take.")
    interval: float = option(1.0, validators.positive_number, "Seconds between two checks.")
