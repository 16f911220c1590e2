"""Suspend a request without a thread; the application is called again when its condition holds."""

from __future__ import annotations

from collections.abc import Callable

WAITED = "agent.waited"
"""In the WSGI environment of the second call: the request has waited."""
MAY_PARK = "agent.may_park"
"""In the WSGI environment where the server knows `Parked`."""


class Parked(BaseException):
    """Raised by the application to wait without a thread. Not an `Exception`: the application would answer that.

    The server calls `park` with a function that ends the wait, from any thread, and `leave` if the client has gone.
    """

    def __init__(self, park: Callable[[Callable[[], None]], None], leave: Callable[[], None], *, first: bool) -> None:
        """`first`: when many waits end at once, this one is answered before those without it."""
        super().__init__()
        self.park, self.leave, self.first = park, leave, first
