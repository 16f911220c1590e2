"""Suspend a request without a thread; the application is called again when its condition holds."""

from __future__ import annotations

from collections.abc import Callable

WAITED = "agent.waited"
"""In the WSGI environment of the second call: the request has waited."""
MAY_PARK = "agent.may_park"
"""In the WSGI environment where the server knows `Parked`."""


class Parked(BaseException):
    """The application waits. Not an `Exception`, which the application would answer.

    The server calls `park` with a function that ends the wait, in any thread, and `leave` where the client has gone.
    """

    def __init__(self, park: Callable[[Callable[[], None]], None], leave: Callable[[], None], *, first: bool) -> None:
        """`first`: whether it is answered before those that are not, when many waits end at once."""
        super().__init__()
        self.park, self.leave, self.first = park, leave, first
