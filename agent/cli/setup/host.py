"""Finds the datastore servers that run on this host under systemd."""

import os
import pwd
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.cli.exits import Missing, Usage
from agent.cli.setup import listening, programs
from agent.cli.setup.listening import Listening

UNITS = {
    "postgresql": r"postgresql(@[\w.-]+|-\d+)?\.service",
    "mariadb": r"mariadb(@[\w.-]+)?\.service",
    "mysql": r"mysqld?(@[\w.-]+)?\.service",
    "redis": r"redis(-server)?(@[\w.-]+)?\.service",
    "valkey": r"valkey(-server)?(@[\w.-]+)?\.service",
    "mongodb": r"mongod(b)?\.service",
}
"""The units of each datastore's server, in the packages of distributions and of vendors."""
KINDS = {"mariadb": "mysql", "valkey": "redis"}
"""`datastore.kind` of a datastore, if it differs."""


@dataclass(frozen=True)
class Server:
    """A running server. `owner`: the user of its process. `command`: its command line from the unit.

    `folder`: its working directory, which is the data directory of PostgreSQL and MySQL.
    """

    datastore: str
    unit: str
    pid: int
    owner: str
    folder: Path
    program: Path
    command: tuple[str, ...]
    listens: Listening

    @property
    def kind(self) -> str:
        """The value for `datastore.kind`."""
        return KINDS.get(self.datastore, self.datastore)


def find(datastore: str | None, unit: str | None = None) -> Server:
    """The only server of this host, or of the datastore or unit. Raises `Missing` for none, `Usage` for several."""
    found = [each for each in servers() if datastore in (None, each.datastore) and _is_unit(each, unit)]
    if not found:
        wanted = unit or datastore or f"none of {', '.join(UNITS)}"
        named = unit or datastore
        raise Missing(f"{wanted}{' does not run' if named else ' runs'} here as a unit of systemd: start it first")
    if len(found) > 1:
        option = "--datastore" if len({each.datastore for each in found}) == len(found) else "--unit"
        units = ", ".join(f"{each.datastore} ({each.unit})" for each in found)
        raise Usage(f"several datastores run on this host, and an agent manages one: name it with {option}: {units}")
    return found[0]


def _is_unit(server: Server, unit: str | None) -> bool:
    return unit is None or server.unit in (unit, f"{unit}.service")


def servers() -> Iterator[Server]:
    """All datastore servers."""
    for unit in _active_units():
        for datastore, pattern in UNITS.items():
            pid = int(_show(unit, "MainPID") or 0) if re.fullmatch(pattern, unit) else 0
            if pid:
                yield _server(datastore, unit, pid)


def _server(datastore: str, unit: str, pid: int) -> Server:
    process = Path("/proc") / str(pid)
    return Server(
        datastore,
        unit,
        pid,
        pwd.getpwuid(process.stat().st_uid).pw_name,
        Path(os.readlink(process / "cwd")),
        Path(os.readlink(process / "exe")),
        _command(unit),
        listening.of(pid),
    )


def _active_units() -> list[str]:
    """The active units by main name; aliases would list a server twice."""
    command = ["systemctl", "list-units", "--type=service", "--state=active", "--plain", "--no-legend", "--no-pager"]
    return [line.split()[0] for line in _output(command).splitlines() if line.strip()]


def _command(unit: str) -> tuple[str, ...]:
    """The command line of `ExecStart=`."""
    found = re.search(r"argv\[\]=(.*?) ;", _show(unit, "ExecStart"))
    return tuple(found[1].split()) if found else ()


def _show(unit: str, name: str) -> str:
    return _output(["systemctl", "show", f"--property={name}", "--value", "--", unit])


def _output(argv: list[str]) -> str:
    return programs.run(argv).strip()
