"""Starts the runner of a job in a transient unit of systemd: over D-Bus, or by the slower systemd-run."""

from __future__ import annotations

import os
from collections.abc import Iterator

from agent.processes.command import CommandResult, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SYSTEMD = "org.freedesktop.systemd1"
RECURSIVE = 16384
"""MS_REC of mount(2): includes the mounts below."""
WHY = "Job of the agent of this datastore host"


def start_over_bus(unit: str, argv: list[str]) -> str | None:
    """Start the unit; returns the message of systemd or of the library if that failed or may have failed."""
    from sdbus import sd_bus_open_system

    try:
        bus = sd_bus_open_system()
        try:
            path, manager = f"/{SYSTEMD.replace('.', '/')}", f"{SYSTEMD}.Manager"
            request = bus.new_method_call_message(SYSTEMD, path, manager, "StartTransientUnit")
            request.append_data("ssa(sv)a(sa(sv))", f"{unit}.service", "fail", list(_properties(argv)), [])
            bus.call(request)
        finally:
            bus.close()
    except Exception as error:  # the library has no common class for its errors
        return str(error) or type(error).__name__
    return None


def start_by_program(unit: str, argv: list[str], timeout: float) -> CommandResult:
    """Start the same unit by systemd-run; returns its result."""
    options = ["--quiet", "--collect", "--no-ask-password", "--property=KillMode=process"]
    if directory := _credentials():
        options += ["--property=SetCredential=job:yes", f"--property=BindReadOnlyPaths=-{directory}"]
    return run(["systemd-run", *options, f"--unit={unit}", "--", *_quoted(argv)], timeout=timeout)


def _properties(argv: list[str]) -> Iterator[tuple[str, tuple[str, Any]]]:
    yield "Description", ("s", WHY)
    yield "CollectMode", ("s", "inactive-or-failed")
    yield "KillMode", ("s", "process")
    yield "ExecStart", ("a(sasb)", [(argv[0], _quoted(argv), False)])
    if directory := _credentials():
        yield "SetCredential", ("a(say)", [("job", b"yes")])
        yield "BindReadOnlyPaths", ("a(ssbt)", [(directory, directory, True, RECURSIVE)])


def _credentials() -> str | None:
    """The folder of the agent's credentials; the job sees it at the same path also while the agent is restarted."""
    return os.environ.get("CREDENTIALS_DIRECTORY")


def _quoted(argv: list[str]) -> list[str]:
    return [word.replace("$", "$$") for word in argv]  # systemd expands $NAME
