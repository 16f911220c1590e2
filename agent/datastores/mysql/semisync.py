"""Read the state of semi-synchronous replication: required and acknowledging replicas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent.datastores.mysql.session import Session, today


@dataclass(frozen=True, slots=True)
class SemiSync:
    """`required` replicas must acknowledge a commit, `clients` of them do; `waits` is in seconds. `acknowledges`: this
    server is a replica that acknowledges the commits of its source.
    """

    enabled: bool
    required: int
    clients: int
    waits: float
    acknowledges: bool

    @property
    def satisfied(self) -> bool:
        return not self.enabled or self.clients >= self.required

    def __str__(self) -> str:
        """The reason why a commit waits, as a sentence."""
        return (
            f"semi-synchronous replication: {self.clients} of {self.required} required replicas acknowledge; a commit "
            f"waits {self.waits:g} s for them"
        )

    def as_json(self, standbys: list[str]) -> dict[str, Any]:
        """The member `synchronous` of the datastore status."""
        return {"required": self.required, "satisfied": self.satisfied, "standbys": standbys}


def look(session: Session) -> SemiSync:
    """Read the present state; names differ by product and version."""
    pairs = session.run("SHOW GLOBAL VARIABLES LIKE %s", "rpl_semi_sync%")
    pairs += session.run("SHOW GLOBAL STATUS LIKE %s", "rpl_semi_sync%")
    known = {today(str(each["Variable_name"]).lower()): str(each["Value"]) for each in pairs}
    return SemiSync(
        enabled=known.get("rpl_semi_sync_source_enabled") == "ON",
        required=int(known.get("rpl_semi_sync_source_wait_for_replica_count", 1)),
        clients=int(known.get("rpl_semi_sync_source_clients", 0)),
        waits=int(known.get("rpl_semi_sync_source_timeout", 0)) / 1000,
        acknowledges=known.get("rpl_semi_sync_replica_status") == "ON",
    )
