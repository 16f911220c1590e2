"""Client for systemd over D-Bus, which also reports each change of a unit. Needs the extra [systemd]."""

import asyncio
import signal as signals
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

from agent.supervisors.base import CommandKilled, SupervisorFailed
from agent.supervisors.systemd.systemctl import not_allowed
from agent.supervisors.systemd.unit_status import PROPERTIES
from agent.util.stop import Stop

if TYPE_CHECKING:
    from sdbus import SdBus
    from sdbus.sd_bus_internals import SdBusMessage

T = TypeVar("T")

SYSTEMD = "org.freedesktop.systemd1"
MANAGER = (f"/{SYSTEMD.replace('.', '/')}", f"{SYSTEMD}.Manager")
PROPERTIES_OF = "org.freedesktop.DBus.Properties"
METHODS = {
    "start": ("StartUnit", ("replace",)),
    "stop": ("StopUnit", ("replace",)),
    "restart": ("RestartUnit", ("replace",)),
    "reset-failed": ("ResetFailedUnit", ()),
    "freeze": ("FreezeUnit", ()),
    "thaw": ("ThawUnit", ()),
}
"""The manager's method for each verb, and its arguments after the unit."""
DENIED = ("AccessDenied", "InteractiveAuthorizationRequired", "AuthFailed")
LOST = (
    "NoReply", "Disconnected", "ServiceUnknown", "NameHasNoOwner", "Timeout", "TimedOut", "IOError", "NoServer",
    "NoNetwork", "LimitsExceeded", "NoMemory",
)  # fmt: skip
"""Errors of D-Bus itself: no answer of systemd arrived."""
HEARTBEAT = 0.25
"""Seconds after which a wait ends without a change: systemd may have lost the subscription."""


class Bus:
    """One connection to the system bus, as a context manager. Each call may take `timeout` seconds.

    All calls raise `SupervisorFailed`, and `CommandKilled` if the connection or the answer was lost.
    """

    def __init__(self, timeout: float, stop: Stop) -> None:
        from sdbus import sd_bus_open_system

        self._timeout, self._stop = timeout, stop
        self._changed = asyncio.Event()
        self._job_result = ""
        self._broken: str | None = None
        self._slots: list[Any] = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._note_broken)
        try:
            self._bus: SdBus = sd_bus_open_system()
        except Exception as error:
            self._loop.close()
            raise CommandKilled(f"the system's D-Bus cannot be reached: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._slots.clear()
        with suppress(Exception):
            self._bus.close()
        # The library's object keeps the loop, invisible to the garbage collector: a handler that refers to this
        # object would keep both, and their descriptors, as long as this process runs.
        self._loop.set_exception_handler(None)
        del self._bus
        self._loop.close()

    def show(self, unit: str) -> dict[str, str]:
        """The properties of a unit, formatted like systemctl's, with times in microseconds."""
        shown = self._run(self._show(unit), "show", unit)
        return {name: _formatted(shown[name]) for name in PROPERTIES if name in shown}

    def manage(self, verb: str, unit: str) -> None:
        """Request one of `METHODS`. Only a freeze or thaw is complete when this returns."""
        member, more = METHODS[verb]
        self._run(self._call(*MANAGER, member, "s" * (1 + len(more)), unit, *more), verb, unit)

    def kill(self, unit: str, signal: str) -> None:
        """Send every process of the unit a signal, such as `SIGSTOP`."""
        number = int(signals.Signals[signal])
        self._run(self._call(*MANAGER, "KillUnit", "ssi", unit, "all", number), "kill", unit)

    def subscribe(self, unit: str) -> None:
        """Make `wait` end at each change of the unit, and at the end of its jobs."""
        self._run(self._subscribe(unit), "watch", unit)

    def wait(self, seconds: float) -> str:
        """Wait for a change, at most for `seconds`. Returns the result of a job that ended meanwhile, else ""."""
        self._run(self._await_change(min(seconds, HEARTBEAT)), "watch", "systemd")
        self._changed.clear()
        result, self._job_result = self._job_result, ""
        return result

    async def _show(self, unit: str) -> dict[str, Any]:
        path = await self._path(unit)
        shown: dict[str, Any] = await self._call(path, PROPERTIES_OF, "GetAll", "s", "")
        return shown

    async def _path(self, unit: str) -> str:
        return str(await self._call(*MANAGER, "LoadUnit", "s", unit))

    async def _subscribe(self, unit: str) -> None:
        def changed(_message: "SdBusMessage") -> None:
            self._changed.set()

        def ended(message: "SdBusMessage") -> None:
            _number, _job, ended_unit, result = message.get_contents()
            if ended_unit == unit:
                self._job_result = str(result)
                self._changed.set()

        properties = (await self._path(unit), PROPERTIES_OF, "PropertiesChanged", changed)
        for match in (properties, (*MANAGER, "JobRemoved", ended)):
            self._slots.append(await self._bus.match_signal_async(SYSTEMD, *match))
        await self._call(*MANAGER, "Subscribe", "")

    async def _await_change(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    async def _call(self, path: str, interface: str, member: str, signature: str, *arguments: Any) -> Any:
        message = self._bus.new_method_call_message(SYSTEMD, path, interface, member)
        if signature:
            message.append_data(signature, *arguments)
        return (await self._bus.call_async(message)).get_contents()

    def _run(self, work: Coroutine[Any, Any, T], verb: str, unit: str) -> T:
        """The result of one call. A requested stop ends the call."""
        if self._stop.requested:
            work.close()
            raise SupervisorFailed(f"{verb} {unit} was ended: {self._stop.reason}")
        try:
            return self._loop.run_until_complete(self._bounded(work, verb, unit))
        except SupervisorFailed:
            raise
        except Exception as error:
            raise _failure(error, verb, unit) from None

    async def _bounded(self, work: Coroutine[Any, Any, T], verb: str, unit: str) -> T:
        task = asyncio.ensure_future(work)
        self._loop.add_reader(self._stop.fileno(), task.cancel)
        try:
            result = await asyncio.wait_for(task, self._timeout)
        except TimeoutError:
            raise CommandKilled(f"systemd did not answer {verb} {unit} in {self._timeout:g} s") from None
        except asyncio.CancelledError:
            raise SupervisorFailed(f"{verb} {unit} was ended: {self._stop.reason}") from None
        finally:
            self._loop.remove_reader(self._stop.fileno())
        if self._broken is not None:
            raise CommandKilled(f"the connection to D-Bus broke: {self._broken}")
        return result

    def _note_broken(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Record an exception of the library's reader: nothing more arrives on this connection."""
        self._broken = str(context.get("exception") or context["message"])
        self._changed.set()


def _failure(error: Exception, verb: str, unit: str) -> SupervisorFailed:
    """The error for an exception of the library: an error of systemd is an answer, any other a lost one."""
    from sdbus import SdBusBaseError, SdBusLibraryError

    name, text = _parsed(error)
    if name in DENIED:
        return SupervisorFailed(not_allowed(verb, unit, f"Failed to {verb} {unit}: {text}"))
    if name in LOST or isinstance(error, SdBusLibraryError) or not isinstance(error, SdBusBaseError):
        return CommandKilled(f"the answer to {verb} {unit} was lost: {text}")
    return SupervisorFailed(f"systemd refused: Failed to {verb} {unit}: {text}")


def _parsed(error: Exception) -> tuple[str, str]:
    """The last part of the error's D-Bus name, and its message."""
    text = str(error.args[-1]) if error.args else str(error)
    name = getattr(type(error), "dbus_error_name", None) or (error.args[0] if len(error.args) > 1 else "")
    return str(name).rpartition(".")[2], text.rstrip(".")


def _formatted(variant: tuple[str, Any]) -> str:
    _signature, value = variant
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):  # a job: its number and its path
        return str(value[0])
    return str(value)
