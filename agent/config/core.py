"""The options of the agent itself: its state, its callers, its queue."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.config import addresses, validators
from agent.config.mistakes import NOTHING, Mistake
from agent.config.option import option, required, subtable


def _default_db() -> Path:
    return Path(os.environ.get("STATE_DIRECTORY", "").split(":")[0] or ".") / "agent.db"


@dataclass(frozen=True)
class Agent:
    """The agent process: its database, node and kinds."""

    db: Path = option(_default_db, validators.path, "The database file; $STATE_DIRECTORY/agent.db under systemd.")
    node: str = option(socket.gethostname, validators.text, "The name of this node.")
    stack: str = option("default", validators.text, "The one stack this node belongs to.")
    test_kinds: bool | None = option(
        None,
        validators.truth,
        "Whether replicante.test.* is offered; default: only if callers are not authenticated.",
        "false",
    )
    kinds: tuple[str, ...] = option((), validators.texts, "Python modules with your own kinds.")
    kinds_path: Path | None = option(
        None,
        validators.absolute_path,
        "The folder of these modules; its content and all folders above it must belong to root.",
        '"/etc/agent/kinds"',
    )

    @property
    def jobs(self) -> Path:
        """The folder of the jobs, which outlive the agent; `agent-job@.service` has the same path."""
        return self.db.with_name(f"{self.db.name}.jobs")

    @property
    def output(self) -> Path:
        """The folder of the output of actions, with a folder for each action."""
        return self.db.with_name(f"{self.db.name}.output")


@dataclass(frozen=True)
class Tls:
    """Encryption and client certificates."""

    certificate: Path = required(
        validators.trusted_file, "The certificate of this server and its chain, PEM.", '"server.pem"'
    )
    key: Path = required(
        validators.trusted_file, "The private key of this server, PEM, without a passphrase.", '"server.key"'
    )
    clients_ca: Path | None = option(
        None,
        validators.trusted_file,
        "The CA of client certificates, PEM. Every TCP caller then needs one; its e-mail identifies the caller.",
        '"clients.pem"',
    )
    crl: Path | None = option(
        None,
        validators.trusted_file,
        "The revocation list of clients_ca, PEM; read again when it changes. Without a valid list no caller is "
        "accepted.",
        '"clients.crl"',
    )

    def __post_init__(self) -> None:
        if self.crl is not None and self.clients_ca is None:
            raise Mistake("a value, as crl is set", NOTHING, at="clients_ca")


@dataclass(frozen=True)
class Api:
    """The addresses of the agent and the authentication of callers."""

    bind: tuple[str, ...] = option(
        ("127.0.0.1:8000",),
        addresses.one_or_more,
        "host:port or unix:/path, one or a list; other addresses than loopback need tokens or clients_ca.",
    )
    allowed_hosts: tuple[str, ...] = option(
        (),
        addresses.host_names,
        "Names accepted in the Host header, in addition to those of bind.",
        '["db-1.example.com"]',
    )
    tokens: Path | None = option(
        None,
        validators.path,
        "The tokens file: callers and their permissions; see `agentctl token create`.",
        '"tokens.toml"',
    )
    tls: Tls | None = subtable(Tls)
    socket_mode: str = option(
        "0660",
        validators.mode,
        "The mode of unix sockets. Users with write permission may connect; the agent then authenticates them.",
    )
    socket_group: str | None = option(
        None, validators.group, "The group of unix sockets; default: the group of the agent's user.", '"dba"'
    )
    record_headers: tuple[str, ...] = option(
        (),
        validators.header_names,
        "Headers stored with an action, in addition to traceparent, tracestate, x-request-id, request-id, from and "
        "action-reason; every reader sees them.",
        '["x-change"]',
    )
    async_actions: str = option(
        "seed",
        validators.one_of("seed", "typed"),
        "The JSON types of the AsyncAction resource, /api/3, and the spellings accepted there; see docs/clients.rst.",
    )
    node_protocol: str = option(
        "seed",
        validators.one_of("seed", "0.5"),
        "The generation of the node protocol that /api/unstable/actions speaks; see docs/clients.rst.",
    )
    threads: int = option(8, validators.positive_integer, "How many requests are answered at once.")
    max_body: int = option(1048576, validators.positive_integer, "The largest body accepted, in bytes.")

    @property
    def certified(self) -> bool:
        """Whether callers are authenticated by their certificates."""
        return self.tls is not None and self.tls.clients_ca is not None

    @property
    def authenticated(self) -> bool:
        """Whether callers are authenticated."""
        return self.tokens is not None or self.certified

    @property
    def umask(self) -> int:
        """The umask with which a new unix socket has the mode `socket_mode`."""
        return 0o777 & ~int(self.socket_mode, 8)

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the agent."""
        return all(addresses.is_local(each) for each in self.bind)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts of all addresses except unix sockets."""
        return tuple(host for each in self.bind if (host := addresses.host_of(each)) is not None)


@dataclass(frozen=True)
class Audit:
    """The audit trail: who did what."""

    keep: str = option("400d", validators.duration, "How long events are kept, also after their actions are removed.")
    rows: int = option(
        1_000_000,
        validators.positive_integer,
        "Maximum number of events; the oldest are removed. 1000000 take about 400 MB, or 5 GB with 4 KiB of arguments "
        "each.",
    )

    @property
    def keep_seconds(self) -> float:
        return validators.duration_seconds(self.keep)


@dataclass(frozen=True)
class Log:
    """The log of the agent."""

    format: str = option(
        "text",
        validators.one_of("text", "json", "journal"),
        "text or json: lines on standard error; journal: entries of systemd's journal with fields.",
    )


@dataclass(frozen=True)
class Web:
    """The page of this node in a browser, under /ui/."""

    enabled: bool = option(
        True, validators.truth, "Whether the page is served. It needs the same authentication as the API."
    )


@dataclass(frozen=True)
class Actions:
    """Limits of the queue, of running actions and of the history."""

    execute_interval: float = option(
        1.0, validators.positive_number, "Seconds between two checks of the queue without a new action."
    )
    queue_limit: int = option(
        1000, validators.positive_integer, "Maximum number of waiting actions; more are refused with 429."
    )
    queue_bytes: int = option(
        64 * 1024 * 1024,
        validators.positive_integer,
        "Maximum bytes of arguments and headers of all waiting actions; more are refused with 429.",
    )
    history_bytes: int = option(
        4 * 1024 * 1024,
        validators.positive_integer,
        "Maximum bytes of payloads in the history of one action; beyond it, each line has only the number of bytes.",
    )
    output_limit: int = option(
        8 * 1024 * 1024,
        validators.positive_integer,
        "Maximum bytes of stored command output of one action; of longer output the beginning and the end are kept.",
    )
    finished_limit: int = option(
        1000, validators.positive_integer, "Maximum number of finished actions in a list, newest first."
    )
    prune_interval: float = option(
        3600.0, validators.positive_number, "Seconds between two removals of old finished actions."
    )
    prune_keep: int = option(100, validators.natural, "How many of the newest finished actions are kept.")
    prune_limit: int = option(
        500, validators.positive_integer, "Maximum number of finished actions that one removal deletes."
    )
    approval: tuple[str, ...] = option(
        (),
        validators.texts,
        "Kinds, * allowed, that need an approval by another identity with the permission approve.",
        '["database_delete", "stack_reboot"]',
    )
    resume_within: float = option(
        86400.0,
        validators.not_negative,
        "If the host was booted and no agent ran for this many seconds, waiting actions fail instead of running: the "
        "disk may come from a snapshot. 0: they always run.",
    )
    timeouts: Mapping[str, float] = option(
        dict,
        validators.table_of(validators.positive_number),
        "Time limit of an action in seconds, by kind.",
        example="{ deploy = 3600 }",
    )
