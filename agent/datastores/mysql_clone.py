"""Everything of one MySQL in another by the clone plugin, which MariaDB has not."""

from __future__ import annotations

from agent.datastores.base import DatastoreUnreachable
from agent.datastores.mysql_address import Address
from agent.datastores.mysql_session import ServerRefused, Session, password_of

RESTART_FAILED = 3707
"""The copy is there; the server cannot start itself again and ends."""
PLUGIN = "SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name = 'clone' AND plugin_status = 'ACTIVE'"


def is_offered(here: Session, there: Session) -> bool:
    """Whether both have the plugin and are of the same version, and our users there and here may use it."""
    if here.dialect.product != "MySQL" or here.value("SELECT @@version") != there.value("SELECT @@version"):
        return False
    return _can(here, "CLONE_ADMIN") and _can(there, "BACKUP_ADMIN")


def run(session: Session, donor: Address) -> None:
    """Replace all data by that of the donor. When this returns the server is on its way down, or up again."""
    password = password_of(donor) or ""
    session.run("SET GLOBAL clone_valid_donor_list = %s", f"{donor.host}:{donor.port}")
    try:
        session.run(
            "CLONE INSTANCE FROM %s@%s:%s IDENTIFIED BY %s", donor.user, donor.host, donor.port, password,
            secret=password,
        )  # fmt: skip
    except DatastoreUnreachable:
        return  # it hung up to start itself again
    except ServerRefused as error:
        if error.number != RESTART_FAILED:
            raise


def _can(session: Session, privilege: str) -> bool:
    return bool(session.value(PLUGIN)) and not session.lacks(privilege)
