"""Group commit: concurrent callers share one commit, and so one fsync."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupCommit(Generic[Item, Result]):
    """Makes a function of one item from a function `commit` of many.

    The first caller leads and commits its item at once. Callers that arrive meanwhile wait; the first of them leads
    next and commits the items of all. `commit` returns for each item a result, or an exception that its caller raises.
    An exception raised by `commit` is raised by all callers.
    """

    def __init__(self, commit: Callable[[Sequence[Item]], Sequence[Result | Exception]]) -> None:
        self._commit = commit
        self._gate = threading.Lock()
        self._waiting: list[_Call[Item, Result]] = []
        self._led = False

    def __call__(self, item: Item) -> Result:
        call = _Call[Item, Result](item)
        with self._gate:
            self._waiting.append(call)
            leads, self._led = not self._led, True
        if not leads:
            call.wakeup.acquire()
        if not call.results:
            self._lead()
        if isinstance(result := call.results[0], BaseException):
            raise result
        return result

    def _lead(self) -> None:
        with self._gate:
            calls, self._waiting = self._waiting, []
        try:
            results: Sequence[Result | BaseException] = self._commit([call.item for call in calls])
        except BaseException as error:
            results = [error] * len(calls)
        for call, result in zip(calls, results, strict=True):
            call.results.append(result)
        with self._gate:
            self._led = bool(self._waiting)
            next_leader = self._waiting[:1]
        for call in next_leader + calls:
            call.wakeup.release()


class _Call(Generic[Item, Result]):
    def __init__(self, item: Item) -> None:
        self.item = item
        self.results: list[Result | BaseException] = []  # one, once it is committed
        self.wakeup = threading.Lock()
        self.wakeup.acquire()
