"""Resync one MySQL or MariaDB: repoint it, or replace its data by a copy that was proved."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from agent import plan
from agent.config import DatastoreSettings
from agent.datastores.base import DatastoreDown, DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.datastores.mysql import (
    assessment as mysql_assessment,
    clone as mysql_clone,
    follow_peer,
    incomplete_mark,
    server_process,
    swap,
)
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.assessment import Copying
from agent.datastores.mysql.data_directory import DataDirectory
from agent.datastores.mysql.data_replacement import DataReplacement
from agent.datastores.mysql.decide import decide_resync
from agent.datastores.mysql.history import Side
from agent.datastores.mysql.session import Session, connect
from agent.datastores.mysql.sources import Source, only_source
from agent.datastores.mysql.swap import TURN
from agent.datastores.progress import ResyncProgress
from agent.datastores.replication_requests import ResyncRequest
from agent.datastores.termination import Terminated
from agent.models import Json
from agent.plan import Plan, Would, discards_as_json
from agent.util.pauses import Pauses
from agent.util.poll import poll
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.supervisors.base import Supervisor

SETTLE = 6.0
"""Seconds that a server marked by an earlier resync must stay up before it counts as up."""
PATIENCE = 30.0
"""Seconds within which this server and its primary must both answer at the start."""


class Resync:
    """Make the server at `here` follow a source; default: its present source."""

    def __init__(
        self,
        settings: DatastoreSettings,
        here: Address,
        source: Source | None,
        service: Supervisor | None,
        request: ResyncRequest,
    ) -> None:
        self._settings, self._here, self._source = settings, here, source
        self._service, self._request = service, request

    def plan(self) -> Plan:
        """What `run` would do now. A stopped server is started first and then inspected."""
        try:
            return self._look()[0]
        except DatastoreDown as error:
            if self._is_up() or self._service is None:
                raise
            return plan.unknown(
                f"this server is down: it would be started, and its data decides what follows ({error})",
                steps=["start this server", "compare it with its primary"],
            )

    def run(self, progress: ResyncProgress) -> Json:
        """Returns the members of the result. Raises `DatastoreError` with the state, also on a request to end."""
        try:
            return self._run(progress)
        except Terminated:  # code that has begun to change something handles this itself
            raise DatastoreError("cancelled before anything was changed: this server is unchanged") from None

    def _run(self, progress: ResyncProgress) -> Json:
        progress("waiting for this server")
        self._clean_up_earlier()
        progress("checking the primary")
        decided, copying, source = self._look_patiently()
        if decided.would is Would.REFUSE and decided.refusal is not None:
            raise DatastoreRefused(f"{decided.refusal.reason}; {decided.refusal.lifted_by}")
        method = str(decided.facts["method"])
        result = {"method": method, "primary": str(source.replication), "discarded": discards_as_json(decided.discards)}
        if decided.would is Would.NOTHING:
            return result | {"warnings": list(decided.warnings)}
        if copying is None:
            progress("following the primary")
            return result | self._repoint(source)
        replacement = DataReplacement(self._settings, self._here, source, self._service, copying, progress)
        return result | {"where": decided.facts["where"]} | replacement.run(new_identity=bool(decided.discards))

    def _clean_up_earlier(self) -> None:
        """Clean up after an earlier resync: restore old data, end a clone that continues in the server."""
        if (directory := self._settings.data_directory) is not None:
            swap.recover(self._here, DataDirectory(directory), self._service, self._settings.timeout)
        server_process.bring_up(self._here, self._service, self._settings.timeout)
        with connect(self._here, self._settings.timeout, patient=True) as session:
            mysql_clone.end_earlier(session, TURN)
            session.wait_for_turn(server_process.START_WAIT, TURN)
            poll(lambda: not incomplete_mark.is_marked(session), SETTLE)

    def _look_patiently(self) -> tuple[Plan, Copying | None, Source]:
        """Compute the plan again, without changes; start the server if it goes down meanwhile."""
        deadline = time.monotonic() + PATIENCE
        pauses = Pauses()
        while True:
            server_process.bring_up(self._here, self._service, self._settings.timeout)
            try:
                return self._look()
            except DatastoreUnreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(pauses.next())

    def _look(self) -> tuple[Plan, Copying | None, Source]:
        """The plan, the method of the copy if one is made, and the source."""
        copying: Copying | None = None
        with self._connect(self._here) as here:
            source = self._source or self._only_source(here)
            with self._connect(source.admin) as there:

                def look_at_copying() -> Copying:
                    nonlocal copying
                    copying = mysql_assessment.look_at_copying(here, there, self._service, self._settings)
                    return copying

                assessment = mysql_assessment.look(here, there, source, Side(here, self._here), self._settings)
                return decide_resync(assessment, self._request, look_at_copying), copying, source

    def _only_source(self, here: Session) -> Source:
        if len(followed := here.replica_status()) > 1:
            named = ", ".join(map(mysql_assessment.source_name, followed))
            raise DatastoreRefused(f"this server follows {len(followed)} sources: name one as primary: {named}")
        return only_source(here, self._settings)

    def _repoint(self, source: Source) -> dict[str, Any]:
        with self._connect(self._here) as here, self._connect(source.admin) as there:
            follow_peer.repoint(Side(here, self._here), there, source, self._settings, Stop())
            return dict(here.dialect.kept)

    def _is_up(self) -> bool:
        return server_process.is_up(self._here, self._settings.timeout)

    def _connect(self, address: Address) -> AbstractContextManager[Session]:
        return connect(address, self._settings.timeout)
