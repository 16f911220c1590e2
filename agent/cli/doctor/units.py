"""Doctor's checks of systemd: whether the configured units exist, and whether the polkit rule is up to date."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from agent.auth import trusted_file
from agent.cli.doctor.finding import Finding
from agent.config import Settings
from agent.tools import polkit

RULES = Path("/etc/polkit-1/rules.d")
SECONDS = 10


def exist(settings: Settings) -> Iterator[Finding]:
    """Whether each configured unit exists and is not masked."""
    named = dict(_named(settings))
    if not named or shutil.which("systemctl") is None:
        return
    if not Path("/run/systemd/system").is_dir():
        yield Finding("units", f"systemd does not run here: {', '.join(named)} cannot be managed: use commands instead")
        return
    for unit, option in named.items():
        command = ["systemctl", "show", "--property=LoadState", "--value", "--", unit]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False).stdout.strip()
        fault = f"systemd has no unit {unit}: correct {option}, or install it" if answer == "not-found" else ""
        fault = f"the unit {unit} is masked: run systemctl unmask {unit}" if answer == "masked" else fault
        yield Finding(option, fault, unit)


def _named(settings: Settings) -> Iterator[tuple[str, str]]:
    """Units, each with the option that names it."""
    if settings.service is not None and settings.service.supervisor == "systemd" and settings.service.unit:
        unit = settings.service.unit
        yield unit if "." in unit else f"{unit}.service", "service.unit"
    if settings.host is not None:
        yield from ((each, "host.services") for each in settings.host.services)
    for name, application in settings.applications.items():
        yield from ((each, f"applications.{name}.services") for each in application.services)
    for name, service in settings.services.items():
        yield service.unit, f"services.{name}.unit"
    for name, process in settings.processes.items():
        if process.unit is not None:
            yield process.unit, f"processes.{name}.unit"


def rule(settings: Settings) -> Iterator[Finding]:
    """Whether the polkit rule lets the agent's user manage the units; root needs none."""
    if os.geteuid() == 0 or not dict(_named(settings)):
        return
    user = trusted_file.user(os.geteuid())
    wanted = _body(polkit.rule(settings, user, "doctor"))
    command = f"run agentctl polkit --user {user} --write"
    try:
        # Not glob: it returns nothing for an unreadable folder, and polkit's folder may be unreadable.
        names = [each for each in os.listdir(RULES) if "agent" in each and each.endswith(".rules")]
        present = [_body((RULES / each).read_text()) for each in names]
    except FileNotFoundError:
        present = []
    except OSError:
        yield Finding("polkit", detail=f"{RULES} cannot be read by {user}: compare the rule as root")
        return
    if not present:
        yield Finding("polkit", f"there is no rule for the agent in {RULES}: {command}")
    elif wanted not in present:
        yield Finding("polkit", f"the rule in {RULES} does not match the configuration: {command}")
    else:
        yield Finding("polkit", detail="the rule matches the configuration")


def is_ours(rule: str) -> bool:
    """Whether `agentctl polkit` has made the rule."""
    return "// Made by `agentctl polkit`" in rule


def same(one: str, other: str) -> bool:
    """Whether two rules are equal except for comments."""
    return _body(one) == _body(other)


def _body(rule: str) -> str:
    """The rule without comments, which contain its origin."""
    return "\n".join(line for line in rule.splitlines() if not line.startswith("//"))
