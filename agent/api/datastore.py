"""`GET /datastore`: the facts about this node's datastore, now; the queue is not involved."""

import threading
import time
from dataclasses import replace

from flask import Blueprint, Response, current_app, jsonify

from agent import clock, datastores
from agent.api.bounded import Bounded, NotAnswered
from agent.api.description import describe
from agent.config import Settings
from agent.datastores.base import DriverMissing
from agent.datastores.status import Status
from agent.errors import DatastoreNotConfigured
from agent.models import Json

bp = Blueprint("datastore", __name__)

FRESH = 1.0
"""Seconds that an answer is given again."""
SECONDS = 2.0
"""How long the server may take to answer."""


class Facts:
    """What the datastore answered last. Callers at the same moment share one question."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bounded = Bounded(SECONDS)
        self._lock = threading.Lock()
        self._asked = -FRESH
        self._answer: Json = None

    def now(self) -> Json:
        """The answer of the route, at most `FRESH` seconds old. Raises `DatastoreNotConfigured`."""
        with self._lock:
            if time.monotonic() >= self._asked + FRESH:
                self._answer = self._look()
                self._asked = time.monotonic()
            return self._answer

    def _look(self) -> Json:
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
            status = Status(reachable=False, error=str(error))
        return {"kind": settings.kind} | status.as_json() | {"checked_ts": clock.rfc3339(clock.now())}


@bp.get("/datastore")
@describe("The facts about this node's datastore.", "Datastore", errors=(DatastoreNotConfigured,))
def datastore() -> Response:
    """At most a second old."""
    facts: Facts = current_app.extensions["agent.facts"]
    return jsonify(facts.now())
