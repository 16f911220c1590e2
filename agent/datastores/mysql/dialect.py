"""The statements that differ between MySQL and MariaDB, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """The statements of one product; `%s` stands for a value."""

    product: str
    make_read_only: str
    make_writable: str
    make_resyncable: str
    """Read-only for clients but not for the agent."""
    kept: Mapping[str, str]
    """The member of an action's result about the effect of these settings after a restart."""
    replica_status: str
    """One row per source; `Session.replica_status` unifies the column names."""
    select_replica: str | None
    """Selects the source for the next statements by `Connection_name`; None: they apply to all sources."""
    follow: str
    """Sets the source by host, port, user and password, with GTID."""
    empty_binary_logs: tuple[str, ...]
    """Empties the GTID state, so that the GTIDs of a dump can be set."""
    gtids_applied: str
    """Whether all received GTIDs are applied."""
    received: str
    """The column of `replica_status` with the received GTIDs."""
    identity: str
    """A value that is unique for the server."""
    can_lead: str
    """Whether replicas can follow the server by GTID."""
    users: str
    """The accounts without the roles."""
    log_nothing: tuple[str, ...]
    """Excludes the statements of a session from the general and the slow log."""
    identified: str
    """The clause of CREATE USER and ALTER USER with a password hash."""
    hash_password: Callable[[str], str]
    """Computes that hash."""
    encode_file_name: str | None
    """The name of a database's directory; None if the server has no such function."""
    dump: tuple[str, ...]
    """The dump program and its options."""
    client: str
    """The client program that reads a dump."""
    client_options: str
    """Lines in the option file of both programs."""
