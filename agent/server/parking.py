"""Suspends a request without a thread; the server calls the application again when its condition holds."""

from __future__ import annotations

from collections.abc import Callable

WAITED = "agent.waited"
"""In the WSGI environment of the second call: the request has waited."""
MAY_PARK = "agent.may_park"
"""In the WSGI environment if the server supports `Parked`."""


class Parked(BaseException):
    """Raised by the application to wait without a thread. Not an `Exception`, which would be turned into an answer.

    The server calls `park` with a function that ends the wait (from any thread), or `leave` if the client has gone.
    """

    def __init__(self, park: Callable[[Callable[[], None]], None], leave: Callable[[], None], *, first: bool) -> None:
        """`first`: when many waits end at once, this one is answered before the others."""
        super().__init__()
        self.park, self.leave, self.first = park, leave, first
