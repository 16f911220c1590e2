"""Run queries of other servers with a time limit, so that a hanging server blocks no API thread."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

PLACES = 4
"""Maximum number of running queries, including those that timed out."""


class NotAnswered(Exception):
    """There was no answer in time; the message has the reason."""


class BoundedQueries:
    """Runs each query in a thread of its own and waits `seconds` at most."""

    def __init__(self, seconds: float, places: int = PLACES) -> None:
        self.seconds = seconds
        self._places = threading.Semaphore(places)

    def ask(self, query: Callable[[], T]) -> T:
        """The answer. Raises `NotAnswered`, and the error of the query."""
        if not self._places.acquire(blocking=False):
            raise NotAnswered("earlier queries of the datastore are still unanswered")
        future: Future[T] = Future()
        # A daemon thread does not delay the exit of the agent.
        threading.Thread(target=self._answer, args=(future, query), name="query", daemon=True).start()
        try:
            return future.result(self.seconds)
        except TimeoutError:
            if future.done():
                raise  # by the query itself
            raise NotAnswered(f"no answer within {self.seconds:g} s") from None

    def _answer(self, future: "Future[T]", query: Callable[[], T]) -> None:
        try:
            future.set_result(query())
        except BaseException as error:
            future.set_exception(error)
        finally:
            self._places.release()
