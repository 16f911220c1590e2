"""What MySQL and MariaDB say differently: their statements by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """The statements of one make; `%s` stands for a value."""

    product: str
    make_read_only: str
    make_writable: str
    make_resyncable: str
    """Still read-only, but not for the agent."""
    kept: Mapping[str, str]
    """What an action's result says of how far these two hold after a restart."""
    replica_status: str
    """A row for each server that is followed; `Session.replica_status` gives them the same columns."""
    select_replica: str | None
    """Which of several the next statements mean, by `Connection_name`; None where they mean all."""
    follow: str
    """With host, port, user and password; by GTID."""
    empty_binary_logs: tuple[str, ...]
    """So that the GTIDs of a dump can be taken over."""
    gtids_applied: str
    """Whether all of the GTIDs received are applied."""
    received: str
    """The column of `replica_status` that has the GTIDs received."""
    identity: str
    """What no other server has."""
    can_lead: str
    """Whether it can be followed by GTID."""
    users: str
    """The accounts that are no roles."""
    log_nothing: tuple[str, ...]
    """Keep the statements of a session out of the general and the slow log."""
    identified: str
    """The clause of CREATE USER and ALTER USER that takes a hash of a password."""
    hash_password: Callable[[str], str]
    """Makes that hash."""
    encode_file_name: str | None
    """The name of a database's directory; None where the server has no such function."""
    dump: tuple[str, ...]
    """The program that dumps and its options."""
    client: str
    """The program that reads a dump."""
    client_options: str
    """Lines for both in an option file."""
