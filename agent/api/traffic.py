"""Counts the requests that this process answers, by route and status, and its refusals by variant."""

import threading
from collections import Counter
from typing import NamedTuple

from flask import Flask, Response, current_app, request

METHODS = ("GET", "HEAD", "POST", "OPTIONS")
OTHER = "other"
"""Label of any other method and of an unknown address, so that callers cannot add series."""


class Answered(NamedTuple):
    """The labels by which answers are counted."""

    method: str
    route: str
    status: int


class Traffic:
    """Counts since the start of the process, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered: Counter[Answered] = Counter()
        self._refused: Counter[str] = Counter()

    def answered(self) -> dict[Answered, int]:
        """The number of answers by method, route and status."""
        with self._lock:
            return dict(self._answered)

    def refused(self) -> dict[str, int]:
        """The number of errors by variant."""
        with self._lock:
            return dict(self._refused)

    def count(self, answered: Answered) -> None:
        """Count one answer."""
        with self._lock:
            self._answered[answered] += 1

    def count_refused(self, variant: str) -> None:
        """Count one error."""
        with self._lock:
            self._refused[variant] += 1


def init_app(app: Flask) -> None:
    """Count every answer of the application."""
    app.extensions["agent.traffic"] = Traffic()
    app.after_request(_count)


def of_this_process() -> Traffic:
    """The counts of the application that answers the present request."""
    found: Traffic = current_app.extensions["agent.traffic"]
    return found


def _count(response: Response) -> Response:
    method = request.method if request.method in METHODS else OTHER
    route = request.url_rule.rule if request.url_rule else OTHER
    of_this_process().count(Answered(method, route, response.status_code))
    return response
