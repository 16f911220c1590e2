"""The agent's units: installed where no package has, given another user, started; and the agent's folder and user."""

import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path

from agent.cli.exits import Usage
from agent.cli.setup import files, programs
from agent.cli.setup.change import Change, Note
from agent.cli.setup.configuration import STATE

SYSTEM, PACKAGED = Path("/etc/systemd/system"), (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))
PREFIX = "/opt/agent"
"""In the shipped units."""
PLACES = {
    "agent.sysusers": Path("/etc/sysusers.d/agent.conf"),
    "agent-dbus.conf": Path("/etc/dbus-1/system.d/agent.conf"),
    "agent.service": SYSTEM / "agent.service",
    "agent-job@.service": SYSTEM / "agent-job@.service",
    "agent-polkit.service": SYSTEM / "agent-polkit.service",
    "agent-polkit.path": SYSTEM / "agent-polkit.path",
}
STARTED = ("agent-polkit.path", "agent-polkit.service", "agent.service")
DROP_IN = "[Service]\nUser={user}\nGroup={group}\n"
BUS_POLICY = Path("/etc/dbus-1/system.d/agent-setup.conf")
DEFAULT_USER = "agent"


def shipped() -> Path:
    """The folder with the units that this installation brought."""
    return Path(sys.prefix) / "share/agent"


def install() -> Iterator[Change]:
    """The files that a package of the system has brought already; of a wheel, with its own prefix."""
    if any((folder / "agent.service").exists() for folder in PACKAGED):
        return
    for name, place in PLACES.items():
        text = (shipped() / name).read_text().replace(PREFIX, sys.prefix)
        yield files.write(place, text, "shipped with the agent")


def user(name: str) -> Iterator[Change]:
    """The user of the shipped unit is made; any other must exist. Raises `Usage`."""
    if name == DEFAULT_USER:
        yield Change(f"create the system user {name}", lambda: _exists(name), _make_users)
    elif not _exists(name):
        raise Usage(f"there is no user {name} on this host: create it first, or leave out --user")


def run_as(name: str) -> Iterator[Change]:
    """Drop-ins and a bus policy for another user than that of the shipped units."""
    if name == DEFAULT_USER:
        return
    group = _group(name)
    for unit in ("agent.service", "agent-job@.service"):
        text = DROP_IN.format(user=name, group=group)
        yield files.write(SYSTEM / f"{unit}.d/setup.conf", text, f"the unit runs as {name}")
    policy = (shipped() / "agent-dbus.conf").read_text().replace('user="agent"', f'user="{name}"')
    yield files.write(BUS_POLICY, policy, f"{name} may freeze and thaw units")


def state(name: str) -> Change:
    """The folder of the state belongs to the agent's user; systemd would do the same at the start."""
    return Change(
        f"make the folder {STATE} of the agent's state, for {name} alone",
        lambda: STATE.is_dir() and STATE.stat().st_uid == pwd.getpwnam(name).pw_uid,
        lambda: _own(name),
    )


def start() -> Change:
    """Enabled and running; restarted after any other change."""
    return Change(
        f"start {', '.join(STARTED)}, now and at each boot",
        lambda: all(_is("is-enabled", unit) for unit in STARTED) and _is("is-active", "agent.service"),
        _start,
        {"what": "units"},
        again=True,
    )


def undo_start(note: Note) -> str:
    """Stop and disable them. Returns what was done."""
    for unit in STARTED:
        programs.succeeds(["systemctl", "disable", "--quiet", "--now", unit])
    return f"stopped and disabled {', '.join(STARTED)}"


def reload() -> None:
    """Let systemd and the bus read what is in their folders now."""
    programs.run(["systemctl", "daemon-reload"])
    programs.succeeds(["systemctl", "reload", "dbus.service"])


def _start() -> None:
    reload()
    programs.run(["systemctl", "enable", "--quiet", *STARTED])
    programs.run(["systemctl", "restart", "agent-polkit.path"])
    try:
        programs.run(["systemctl", "restart", "agent.service"])
    except Usage as error:
        raise Usage(f"{error}; run journalctl -u agent -n 20") from None


def _is(question: str, unit: str) -> bool:
    return programs.succeeds(["systemctl", "--quiet", question, unit])


def _make_users() -> None:
    programs.run(["systemd-sysusers"])


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _group(name: str) -> str:
    import grp

    return grp.getgrgid(pwd.getpwnam(name).pw_gid).gr_name


def _own(name: str) -> None:
    owner = pwd.getpwnam(name)
    STATE.mkdir(mode=0o700, exist_ok=True)
    for _, folders, names, folder in os.fwalk(STATE):
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        for each in (*folders, *names):
            os.chown(each, owner.pw_uid, owner.pw_gid, dir_fd=folder, follow_symlinks=False)
