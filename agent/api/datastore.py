"""`GET /datastore`: the present facts about this node's datastore, without an action."""

import threading
import time
from contextlib import suppress
from dataclasses import replace

from flask import Blueprint, Response, current_app, jsonify

from agent import clock, datastores
from agent.api.openapi.description import describe
from agent.api.time_limit import BoundedQueries, NotAnswered
from agent.config import Settings
from agent.datastores.base import DriverMissing
from agent.datastores.status import DatastoreStatus
from agent.engine.changes import Changes
from agent.errors import DatastoreNotConfigured, NotHealthy
from agent.models import Json
from agent.util.remembered import Remembered

bp = Blueprint("datastore", __name__)

FRESH = 1.0
"""Seconds for which an answer is reused."""
SECONDS = 2.0
"""Timeout of the datastore, in seconds."""


class Facts:
    """The last answer of the datastore. Concurrent callers share one query."""

    def __init__(self, settings: Settings, changes: Changes) -> None:
        self._settings = settings
        self._changes = changes
        self._number = changes.number
        self._bounded = BoundedQueries(SECONDS)
        self._lock = threading.Lock()
        self._in_the_background: Remembered[Json] = Remembered(self._now_or_none, FRESH, None)
        self._queried = -FRESH
        self._answer: Json = None
        self._reachable: Json = None

    def now(self) -> Json:
        """The answer of the route, at most `FRESH` seconds old, and newer than any change of an action.

        Raises `DatastoreNotConfigured`.
        """
        with self._lock:
            if time.monotonic() >= self._queried + FRESH or self._number != self._changes.number:
                self._number = self._changes.number
                self._answer = self._query()
                self._queried = time.monotonic()
                if self._answer["reachable"]:
                    self._reachable = self._answer
            return self._answer

    def newest(self) -> Json:
        """The newest answer; None before the first, and without a datastore. Never waits for the datastore."""
        return self._in_the_background.now() if self._settings.datastore is not None else None

    def _now_or_none(self) -> Json:
        with suppress(DatastoreNotConfigured):
            return self.now()
        return None

    def last_reachable(self) -> Json:
        """The newest facts that the datastore has returned since the agent started.

        Raises `DatastoreNotConfigured`, and `NotHealthy` if it has returned none yet.
        """
        newest = self.now()
        if (found := newest if newest["reachable"] else self._reachable) is None:
            raise NotHealthy(f"the datastore does not answer: {newest['error']}")
        return found

    def _query(self) -> Json:
        settings = self._settings.datastore
        if settings is None:
            raise DatastoreNotConfigured("this node has no datastore: set [datastore] in the configuration")
        try:
            server = datastores.of(replace(settings, timeout=min(settings.timeout, SECONDS)))
        except DriverMissing as error:
            raise DatastoreNotConfigured(str(error)) from None
        server.node = self._settings.agent.node
        try:
            status = self._bounded.ask(server.status)
        except NotAnswered as error:
            status = DatastoreStatus(reachable=False, error=str(error))
        return {"kind": settings.kind} | status.as_json() | {"checked_ts": clock.rfc3339(clock.now())}


@bp.get("/datastore")
@describe("The facts about this node's datastore.", "Datastore", errors=(DatastoreNotConfigured,))
def datastore() -> Response:
    """At most a second old, and newer than any change of an action."""
    facts: Facts = current_app.extensions["agent.facts"]
    return jsonify(facts.now())
