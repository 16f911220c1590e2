"""Calls that come at the same moment, done together: many callers, one commit."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Together(Generic[Item, Result]):
    """A function of one item, made of a function of many.

    The first caller leads and does its own item at once. Those who come while that is under way
    wait; the first of them leads next and does the items of all. `do` returns a result for each
    item, an exception where that one is to be raised; what it raises itself is raised by all.
    `afterwards` is told of each batch when nobody waits for it any more but the one who led.
    """

    def __init__(
        self,
        do: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        afterwards: Callable[[Sequence[Item], Sequence[Result | BaseException]], None],
    ) -> None:
        self._do = do
        self._afterwards = afterwards
        self._gate = threading.Lock()
        self._waiting: list[_Call[Item, Result]] = []
        self._led = False

    def __call__(self, item: Item) -> Result:
        call = _Call[Item, Result](item)
        with self._gate:
            self._waiting.append(call)
            leads, self._led = not self._led, True
        if not leads:
            call.sleep()
        if call.result is None:
            self._lead()
        return call.outcome()

    def _lead(self) -> None:
        """Do what has come by now, then wake those it was for and the one who leads next."""
        with self._gate:
            calls, self._waiting = self._waiting, []
        try:
            results: Sequence[Result | BaseException] = self._do([call.item for call in calls])
        except BaseException as error:
            results = [error] * len(calls)
        for call, result in zip(calls, results, strict=True):
            call.result = (result,)
        with self._gate:
            self._led = bool(self._waiting)
            next_leader = self._waiting[:1]
        for call in next_leader + calls:
            call.wake()
        self._afterwards([call.item for call in calls], results)


class _Call(Generic[Item, Result]):
    """One caller's item, and where it sleeps until it is done or its turn to lead has come."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: tuple[Result | BaseException] | None = None
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def sleep(self) -> None:
        self._asleep.acquire()

    def wake(self) -> None:
        self._asleep.release()

    def outcome(self) -> Result:
        assert self.result is not None
        (result,) = self.result
        if isinstance(result, BaseException):
            raise result
        return result
