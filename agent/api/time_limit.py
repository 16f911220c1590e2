"""Run queries of other servers with a time limit, so that a hanging server blocks no API thread."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

PLACES = 4
"""Questions that may be open at once, also those that are no longer waited for."""


class NotAnswered(Exception):
    """The answer did not come in time; the message says why."""


class BoundedQueries:
    """Runs each question in a thread of its own and waits `seconds` at most."""

    def __init__(self, seconds: float, places: int = PLACES) -> None:
        self.seconds = seconds
        self._places = threading.Semaphore(places)

    def ask(self, question: Callable[[], T]) -> T:
        """The answer. Raises `NotAnswered`, and whatever the question raises."""
        if not self._places.acquire(blocking=False):
            raise NotAnswered("earlier queries of the datastore are still unanswered")
        future: Future[T] = Future()
        # A daemon thread does not delay the exit of the agent.
        threading.Thread(target=self._answer, args=(future, question), name="question", daemon=True).start()
        try:
            return future.result(self.seconds)
        except TimeoutError:
            if future.done():
                raise  # the question's own
            raise NotAnswered(f"no answer within {self.seconds:g} s") from None

    def _answer(self, future: "Future[T]", question: Callable[[], T]) -> None:
        try:
            future.set_result(question())
        except BaseException as error:
            future.set_exception(error)
        finally:
            self._places.release()
