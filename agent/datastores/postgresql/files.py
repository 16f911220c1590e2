"""The data directory of a PostgreSQL, its programs and its settings. As root, the agent acts as their owner."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from agent.datastores.base import DatastoreError
from agent.datastores.postgresql.config_files import lines_of, name_in
from agent.processes import command
from agent.processes.command import CommandResult
from agent.processes.recording import Recorded
from agent.util import atomic_files
from agent.util.file_access import file_access_as

DAY = 24 * 3600.0
VERSIONED = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin")
AUTO = "postgresql.auto.conf"
EARLIER_LIFE = (
    "recovery_target", "recovery_target_name", "recovery_target_time", "recovery_target_xid", "recovery_target_lsn",
    "recovery_target_inclusive", "recovery_target_timeline", "recovery_target_action", "restore_command",
    "archive_cleanup_command", "recovery_end_command", "promote_trigger_file", "primary_conninfo", "primary_slot_name",
)  # fmt: skip
"""Settings in postgresql.auto.conf that a standby must not inherit from a restore or an earlier source."""
ENDS_RECOVERY = (*EARLIER_LIFE[:5], "promote_trigger_file")
"""Settings that would end recovery: overridden with '' if another file sets them."""
ASSIGNED = re.compile(r"^\s*(\w+)\s*=?\s*'((?:[^'\\]|''|\\.)*)'", re.MULTILINE)


def work_of(data: Path) -> Path:
    """The working folder of a resync; it exists until the resync has ended."""
    return data.with_name(f"{data.name}.resync")


class DataDirectory:
    """The data directory of a server. The methods raise `DatastoreError`."""

    def __init__(self, data: Path, programs: Path | None) -> None:
        self.data, self.work = data, work_of(data)
        self.passfile = data.with_name(f"{data.name}.primary.pgpass")
        self._programs = programs

    @property
    def present(self) -> Path:
        """The present location of the data: a killed resync may have moved it."""
        moved = self.work / "old"
        return moved if moved.exists() else self.data

    @cached_property
    def owner(self) -> pwd.struct_passwd:
        """The user that owns the data. Raises `DatastoreError` if the agent cannot act as that user."""
        there = next((each for each in (self.data, self.work) if each.exists()), None)
        if there is None:
            raise DatastoreError(f"there is no data directory {self.data}")
        uid = there.stat().st_uid
        if os.geteuid() not in (0, uid):
            name = pwd.getpwuid(uid).pw_name
            raise DatastoreError(f"{there} belongs to {name}: run the agent as that user or as root")
        return pwd.getpwuid(uid)

    @property
    def major(self) -> str:
        """The major version of the files."""
        if version := atomic_files.read(self.present / "PG_VERSION"):
            return version.decode().strip()
        raise DatastoreError(f"{self.data} is not a data directory of PostgreSQL: it has no PG_VERSION")

    def check(self) -> None:
        """Raises `DatastoreError` if the data directory cannot be renamed."""
        if self.data.is_symlink() or os.path.ismount(self.data):
            raise DatastoreError(
                f"{self.data} is a mount point or a symbolic link, and a resync needs to rename it: "
                "put the data directory below the mount and datastore.data_directory to its real path"
            )
        self.check_writable(self.data.parent)

    def check_writable(self, directory: Path) -> None:
        """Raises `DatastoreError` if the owner cannot create entries in the folder."""
        name = self.owner.pw_name
        with self.as_owner():
            if not os.access(directory, os.W_OK, effective_ids=True):
                raise DatastoreError(f"{directory} must be writable by {name} for a resync")

    @contextmanager
    def as_owner(self) -> Iterator[None]:
        """If the agent is root, access files with only the owner's permissions in this thread."""
        if os.geteuid() != 0:
            yield
            return
        with file_access_as(self.owner.pw_uid, self.owner.pw_gid):
            yield

    # Programs

    def program(self, name: str) -> str:
        """The path of a program of the server. Raises `DatastoreError` if it is not found."""
        places = [self._programs] if self._programs else [Path(each.format(self.major)) for each in VERSIONED]
        found = next((str(place / name) for place in places if (place / name).exists()), None)
        if found is None and self._programs is None:
            found = shutil.which(name)
        if found is None:
            raise DatastoreError(f"{name} is not found: set datastore.programs to the folder of the server's programs")
        return found

    def run(self, name: str, *args: str, recorded: Recorded | None = None) -> CommandResult:
        """Run a program as the owner until it ends. If the agent is killed, a later resync can end the program."""
        owner = self.owner
        argv = [self.program(name), *args]
        if os.geteuid() == 0:
            argv = ["runuser", "-u", owner.pw_name, "--", *argv]
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": owner.pw_dir, "LC_ALL": "C"}
        return command.run(argv, timeout=DAY, action=self._mark, env=env, cwd=self.data.parent, recorded=recorded)

    def end_left_over(self) -> None:
        """End the programs of a killed resync."""
        command.end_left_over(self._mark)

    @property
    def _mark(self) -> str:
        return f"resync of {self.data}"

    # Settings

    @property
    def config_file(self) -> Path:
        """The path of postgresql.conf: in the data directory, or in Debian's folder."""
        outside = Path("/etc/postgresql") / self.major / self.data.name / "postgresql.conf"
        inside = self.present / "postgresql.conf"
        return outside if not inside.exists() and outside.exists() else inside

    def setting(self, name: str, directory: Path | None = None) -> str | None:
        """The value of a setting at the next start; None if the files do not set it and the default applies."""
        place = directory or self.present
        if not self._mentions(name, place):
            return None
        options = ["-c", f"config_file={self.config_file}", "-c", f"data_directory={place}"]
        outcome = self.run("postgres", "-C", name, "-D", str(place), *options)
        return outcome.stdout.strip() if outcome.ok else None

    def _mentions(self, name: str, place: Path) -> bool:
        """Whether one of the files may contain the setting: running the program for each is slow."""
        files = (file for file in (self.config_file, place / AUTO) if file.exists())
        return any(name_in(line).startswith((name, "include")) for file in files for line in lines_of(file))

    def set_by_itself(self) -> dict[str, str]:
        """The settings of postgresql.auto.conf: set by ALTER SYSTEM, pg_basebackup or pg_rewind."""
        text = atomic_files.read(self.present / AUTO) or b""
        return {name: _unquoted(value) for name, value in ASSIGNED.findall(text.decode(errors="replace"))}

    def write_passfile(self, lines: Mapping[str, str]) -> None:
        """Write the password file for the programs and the server: no password in arguments or settings.

        `lines` maps the leading fields of a line to its password; lines for other servers are kept.
        """
        with self.as_owner():
            before = (atomic_files.read(self.passfile) or b"").decode().splitlines()
            kept = [line for line in before if not line.startswith(tuple(f"{each}:" for each in lines))]
            new = [f"{each}:{escaped(password)}" for each, password in lines.items()]
            atomic_files.replace(self.passfile, "".join(f"{line}\n" for line in [*new, *kept]).encode())

    def make_standby(self, directory: Path, settings: Mapping[str, str]) -> None:
        """Make a data directory a standby with these settings; its other settings stay, except inherited ones."""
        before = os.fsdecode(atomic_files.read(self.present / AUTO) or b"")
        without = "".join(f"{line}\n" for line in before.splitlines() if name_in(line) not in EARLIER_LIFE)
        with self.as_owner():
            atomic_files.replace(directory / AUTO, _with(settings, without))
        emptied = {name: "" for name in ENDS_RECOVERY if self.setting(name, directory)}
        with self.as_owner():
            if emptied:
                atomic_files.replace(directory / AUTO, _with({**settings, **emptied}, without))
            atomic_files.replace(directory / "standby.signal", b"")
            (directory / "recovery.signal").unlink(missing_ok=True)


def escaped(part: str) -> str:
    """Escape a field of a password file."""
    return part.replace("\\", "\\\\").replace(":", "\\:")


def _with(settings: Mapping[str, str], text: str) -> bytes:
    """The text of a configuration file with these settings in effect."""
    lines = [line for line in text.splitlines() if name_in(line) not in settings]
    lines += [f"{name} = {_quoted(value)}" for name, value in settings.items()]
    return os.fsencode("".join(f"{line}\n" for line in lines))


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value.replace("''", "'"))
