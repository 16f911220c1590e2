"""Doctor's checks of programs: those in configured commands, and those that the agent runs itself."""

import os
import shutil
from collections.abc import Iterator, Sequence

from agent.cli.doctor.finding import Finding
from agent.config import Settings


def commands(settings: Settings) -> Iterator[Finding]:
    """The program of every configured command."""
    for option, command in _configured(settings):
        if command:
            yield _program(option, command[0])


def _configured(settings: Settings) -> Iterator[tuple[str, Sequence[str]]]:
    if settings.service is not None:
        for name in ("pid", "start", "stop"):
            yield f"service.{name}", getattr(settings.service, name)
    if settings.host is not None:
        yield "host.reboot", settings.host.reboot
    for name, action in settings.external_actions.items():
        yield f"external_actions.{name}.action", action.action
        yield f"external_actions.{name}.check", action.check
    for name, process in settings.processes.items():
        yield f"processes.{name}.restart", process.restart
    for name, application in settings.applications.items():
        # Not the commands before and after a switch: their programs may be part of the release.
        yield f"applications.{name}.health", application.health
    for state in ("on", "off") if settings.maintenance is not None else ():
        for command in getattr(settings.maintenance, state):
            yield f"maintenance.{state}", command


def _program(option: str, program: str) -> Finding:
    if os.sep in program and os.path.exists(program) and not os.access(program, os.X_OK):
        return Finding(option, f"{program} may not be run: run chmod a+x {program}")
    if shutil.which(program) is None:
        return Finding(option, f"there is no program {program}: install it, or correct {option}")
    return Finding(option, detail=program)


def tools(settings: Settings) -> Iterator[Finding]:
    """Programs that kinds run."""
    needed = {}
    if settings.applications:
        needed["git"] = "deploy"
    if any(each.ssh_key is not None for each in settings.applications.values()):
        needed["ssh"] = "deploy by ssh"
    if settings.service is not None and settings.service.supervisor == "systemd":
        needed["systemctl"] = "the service's unit"
    for program, use in needed.items():
        if shutil.which(program) is None:
            yield Finding("programs", f"{program} is not installed, and {use} needs it: install it")
        else:
            yield Finding("programs", detail=program)
