"""Log in as a user to prove that the account works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agent.datastores.base import DatastoreRefused, DatastoreUnreachable
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.session import ServerRefused, connect

TOO_MANY_CONNECTIONS = (1040, 1203)
"""Error numbers of connection limits: they say nothing about the account."""


def prove(at: Address, timeout: float, account: str, password: str, databases: Sequence[str]) -> str:
    """Log in and use each of the databases. Returns "login", or a sentence why no login was possible.

    Raises `DatastoreRefused` if the server denies the login or a database, or selects another account.
    """
    name = account.rpartition("@")[0]
    try:
        with connect(replace(at, user=name, password=password, password_file=None), timeout) as session:
            if (used := str(session.value("SELECT CURRENT_USER()"))) != account:
                raise DatastoreRefused(f"a login as {name} from this host uses the account {used}: drop that account")
            for database in databases:
                session.run("USE {}", names=[database])
    except ServerRefused as error:
        if error.number not in TOO_MANY_CONNECTIONS:
            raise
        return f"only the grants: no login was possible: {error}"
    except DatastoreUnreachable as error:
        return f"only the grants: no login was possible: {error}"
    return "login"
