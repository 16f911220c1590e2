"""Generates the polkit rule that lets the agent's user manage the units of the configuration, and nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from agent.config import Settings, validators

FILE = Path("/etc/polkit-1/rules.d/50-agent.rules")
"""Where polkit reads the rule."""
MODE = 0o644
"""Readable by others, because polkit runs as another user."""

ASK = ("reset-failed", "start", "stop")
"""`reset-failed` before each start clears systemd's start limit, which could leave a stopped service down."""
START = ("start",)
RESTART = ("reset-failed", "restart")
PAUSE = ("freeze", "kill", "ref", "reset-failed", "restart", "thaw")
"""systemctl references a unit (`ref`) before a freeze. `kill` stops the processes of a unit that cannot be frozen."""
REBOOT = (
    "org.freedesktop.login1.reboot",
    "org.freedesktop.login1.reboot-ignore-inhibit",
    "org.freedesktop.login1.reboot-multiple-sessions",
)
REBOOT_TARGET = "reboot.target"
"""The unit started for a reboot if logind does not run."""

RULE = """\
// Permits the agent's user to manage the units of the agent's configuration, each only with the
// verbs that its actions need, and to run the agent's jobs (agent-job@.service).
// Made by `agentctl polkit` of %(origin)s. agent-polkit.path makes it again whenever the
// configuration changes; without that unit run `agentctl polkit --write`.
//
// polkit loads a changed rule at once. It compares the unit's main name only: an alias in the
// configuration is refused (`systemctl show --property=Id` prints the name).
polkit.addRule(function(action, subject) {
    var user = %(user)s;
    var units = %(units)s;
    var others = %(others)s;
%(templates)s    var job = /^agent-job@[A-Za-z0-9_][A-Za-z0-9._-]*\\.service$/;

    if (subject.user !== user)
        return polkit.Result.NOT_HANDLED;
    if (others.indexOf(action.id) >= 0)
        return polkit.Result.YES;
    if (action.id !== "org.freedesktop.systemd1.manage-units")
        return polkit.Result.NOT_HANDLED;

    var unit = action.lookup("unit"), verb = action.lookup("verb"), message = String(action.lookup("polkit.message"));
    // A transient unit could run any command as any user. Only its message distinguishes it from a start, where
    // systemd passes the unit's name at all (257 and later).
    if (message.indexOf("transient unit") >= 0)
        return polkit.Result.NOT_HANDLED;
    // systemd calls a freeze a stop and a thaw a start; only its message distinguishes them.
    if (message.indexOf("freeze or thaw") >= 0)
        verb = verb === "stop" ? "freeze" : "thaw";

    var verbs = job.test(unit)%(instance)s ? ["start", "stop"] : units.hasOwnProperty(unit) ? units[unit] : [];
    return verbs.indexOf(verb) >= 0 ? polkit.Result.YES : polkit.Result.NOT_HANDLED;
});
"""


TEMPLATES = """\
    var templates = %s;
    // The name of an instance is the id of its action.
    var instance = /^(.+@)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(\\.service)$/.exec(action.lookup("unit"));
"""
INSTANCE = " || instance && templates.indexOf(instance[1] + instance[2]) >= 0"


def rule(settings: Settings, user: str, origin: str) -> str:
    """The rule for these settings; equal settings give the same text.

    `user`: the user that the agent runs as. `origin`: the file of the settings.
    """
    verbs: dict[str, set[str]] = {}
    for unit, needed in _needed(settings):
        verbs.setdefault(unit, set()).update(needed)
    templates = sorted({each.unit for each in settings.external_actions.values() if each.unit})
    others = REBOOT if settings.host and settings.host.reboot else ()
    return RULE % {
        "origin": " ".join(origin.split()),
        "user": json.dumps(user),
        "units": _lines("{}", [f"{json.dumps(unit)}: {json.dumps(sorted(verbs[unit]))}" for unit in sorted(verbs)]),
        "templates": TEMPLATES % _lines("[]", [json.dumps(each) for each in templates]) if templates else "",
        "instance": INSTANCE if templates else "",
        "others": _lines("[]", [json.dumps(each) for each in others]),
    }


def _needed(settings: Settings) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each unit of the configuration, with the verbs that its kinds need."""
    if settings.service and settings.service.supervisor == "systemd" and settings.service.unit:
        yield _full_name(settings.service.unit), ASK
    if settings.host:
        yield from ((unit, RESTART) for unit in settings.host.services)
        if settings.host.reboot:
            yield REBOOT_TARGET, START
    for application in settings.applications.values():
        yield from ((unit, RESTART) for unit in application.services)
    yield from ((service.unit, PAUSE) for service in settings.services.values())
    yield from ((process.unit, PAUSE) for process in settings.processes.values() if process.unit)


def _full_name(unit: str) -> str:
    """The unit's name with its suffix, completed as by systemctl."""
    return unit if re.fullmatch(validators.UNIT, unit) else f"{unit}.service"


def _lines(brackets: str, entries: list[str]) -> str:
    if not entries:
        return brackets
    return brackets[0] + "\n        " + ",\n        ".join(entries) + "\n    " + brackets[1]
