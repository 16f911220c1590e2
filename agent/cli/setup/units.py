"""The agent's units, user and state folder: installs the units without a package, sets their user, starts them."""

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
"""The installation prefix in the shipped units."""
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
    """The folder with the units of this installation."""
    return Path(sys.prefix) / "share/agent"


def install() -> Iterator[Change]:
    """Install the units with the prefix of this installation, unless a package of the system has installed them."""
    if any((folder / "agent.service").exists() for folder in PACKAGED):
        return
    for name, place in PLACES.items():
        text = (shipped() / name).read_text().replace(PREFIX, sys.prefix)
        yield files.write(place, text, "shipped with the agent")


def user(name: str) -> Iterator[Change]:
    """Create the user of the shipped unit; any other user must exist. Raises `Usage`."""
    if name == DEFAULT_USER:
        yield Change(f"create the system user {name}", lambda: _exists(name), _make_users)
    elif not _exists(name):
        raise Usage(f"there is no user {name} on this host: create it first, or leave out --user")


def run_as(name: str) -> Iterator[Change]:
    """Write drop-ins and a bus policy if the user is not the one of the shipped units."""
    if name == DEFAULT_USER:
        return
    group = _group(name)
    for unit in ("agent.service", "agent-job@.service"):
        text = DROP_IN.format(user=name, group=group)
        yield files.write(SYSTEM / f"{unit}.d/setup.conf", text, f"the unit runs as {name}")
    policy = (shipped() / "agent-dbus.conf").read_text().replace('user="agent"', f'user="{name}"')
    yield files.write(BUS_POLICY, policy, f"{name} may freeze and thaw units")


def state(name: str) -> Change:
    """Make the state folder, owned by the agent's user, as systemd would at the start."""
    return Change(
        f"make the folder {STATE} of the agent's state, for {name} alone",
        lambda: STATE.is_dir() and STATE.stat().st_uid == pwd.getpwnam(name).pw_uid,
        lambda: _own(name),
    )


def start() -> Change:
    """Enable and start the units; restart them after any other change."""
    return Change(
        f"start {', '.join(STARTED)}, now and at each boot",
        lambda: all(_is("is-enabled", unit) for unit in STARTED) and _is("is-active", "agent.service"),
        _start,
        {"what": "units"},
        again=True,
    )


def undo_start(note: Note) -> str:
    """Stop and disable the units. Returns what was done."""
    for unit in STARTED:
        programs.succeeds(["systemctl", "disable", "--quiet", "--now", unit])
    return f"stopped and disabled {', '.join(STARTED)}"


def reload() -> None:
    """Make systemd and the bus reload their files."""
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
