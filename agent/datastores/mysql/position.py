"""Read the GTIDs that a server has written or applied, as text."""

from __future__ import annotations

from agent.datastores.mysql import gtid
from agent.datastores.mysql.session import Session

OWN_STATE = "SELECT CONCAT_WS(',', @@gtid_binlog_state, @@gtid_slave_pos) AS state"


def applied(session: Session) -> str:
    """The GTIDs on one line; MariaDB: the last GTID of each pair of domain and server."""
    if session.dialect.product == "MySQL":
        return "".join(str(session.value("SELECT @@GLOBAL.gtid_executed")).split())
    return gtid.text_of(gtid.state_of(str(session.value(OWN_STATE))))
