"""The data directory of a PostgreSQL, its programs, and the directory beside it while a resync is under way.

The data directory is whole or it is not there: whatever makes it anew is done in `NAME.resync` beside
it, and what is whole is renamed. As root everything is done as its owner.
"""

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
from agent.hosts import command, files
from agent.hosts.command import Outcome

DAY = 24 * 3600.0
VERSIONED = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin")
KEPT = ("server.crt", "server.key", "root.crt", "root.crl")
"""What is this server's own besides its *.conf: a copy of another server brings that one's."""
AUTO = "postgresql.auto.conf"
ASSIGNED = re.compile(r"^\s*(\w+)\s*=?\s*'((?:[^'\\]|''|\\.)*)'", re.MULTILINE)


def work_of(data: Path) -> Path:
    """Where a resync works; while it is there, that has not come to its end."""
    return data.with_name(f"{data.name}.resync")


class DataDirectory:
    """The data directory of a server that is down."""

    def __init__(self, data: Path, programs: Path | None) -> None:
        self.data, self.work = data, work_of(data)
        self.kept = self.work / "kept"
        self.passfile = data.with_name(f"{data.name}.primary.pgpass")
        self._programs = programs

    @cached_property
    def owner(self) -> pwd.struct_passwd:
        """Raises `DatastoreError` where the agent cannot act for the owner."""
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
        """The version that its files are of."""
        places = [self.data, *(self.work / name for name in ("rewinding", "old", "kept"))]
        for place in places:
            if version := files.read(place / "PG_VERSION"):
                return version.decode().strip()
        raise DatastoreError(f"{self.data} is not a data directory of PostgreSQL: it has no PG_VERSION")

    def check(self) -> None:
        """Raises `DatastoreError` where it cannot be renamed."""
        if self.data.is_symlink() or os.path.ismount(self.data):
            raise DatastoreError(
                f"{self.data} is a mount point or a symbolic link, and a resync needs to rename it: "
                "put the data directory below the mount and datastore.data_directory to its real path"
            )
        owner = self.owner
        with self.as_owner():
            if not os.access(self.data.parent, os.W_OK, effective_ids=True):
                raise DatastoreError(f"{self.data.parent} must be writable by {owner.pw_name} for a resync")

    @contextmanager
    def as_owner(self) -> Iterator[None]:
        """Root does to the files what their owner may do, and no more."""
        if os.geteuid() != 0:
            yield
            return
        os.setegid(self.owner.pw_gid)
        os.seteuid(self.owner.pw_uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)

    # Programs

    def program(self, name: str) -> str:
        """Raises `DatastoreError` where it is not found."""
        places = [self._programs] if self._programs else [Path(each.format(self.major)) for each in VERSIONED]
        found = next((str(place / name) for place in places if (place / name).exists()), None)
        if found is None and self._programs is None:
            found = shutil.which(name)
        if found is None:
            raise DatastoreError(f"{name} is not found: set datastore.programs to where the server's programs are")
        return found

    def run(self, name: str, *args: str) -> Outcome:
        """Run one of its programs to its end, as the owner, so that a later resync can end it should we be killed."""
        owner = self.owner
        argv = [self.program(name), *args]
        if os.geteuid() == 0:
            argv = ["runuser", "-u", owner.pw_name, "--", *argv]
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": owner.pw_dir, "LC_ALL": "C"}
        return command.run(argv, timeout=DAY, action=self._mark, env=env, cwd=self.data.parent)

    def end_left_over(self) -> None:
        """End the programs of a resync that was killed."""
        command.end_left_over(self._mark)

    @property
    def _mark(self) -> str:
        return f"resync of {self.data}"

    # Settings

    @property
    def config_file(self) -> Path | None:
        """Where Debian keeps the configuration; None where it is in the data directory."""
        outside = Path("/etc/postgresql") / self.major / self.data.name / "postgresql.conf"
        return None if (self.data / "postgresql.conf").exists() or not outside.exists() else outside

    def set_before(self) -> dict[str, str]:
        """What ALTER SYSTEM, pg_basebackup or pg_rewind had set on this server."""
        for place in (self.kept, self.data):
            with self.as_owner():
                text = files.read(place / AUTO)
            if text is not None:
                return {name: _unquoted(value) for name, value in ASSIGNED.findall(text.decode(errors="replace"))}
        return {}

    def write_passfile(self, password: str) -> None:
        """For the programs and for the server: a password is on no command line and in no setting."""
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        with self.as_owner():
            files.replace(self.passfile, f"*:*:*:*:{escaped}\n".encode())

    def make_standby(self, directory: Path, settings: Mapping[str, str]) -> None:
        """Give a copy of the primary this server's own configuration, and let it follow."""
        with self.as_owner():
            for path in self.kept.iterdir():
                shutil.copy2(path, directory / path.name)
            kept = files.read(self.kept / AUTO) or b""
            files.replace(directory / AUTO, _with(settings, os.fsdecode(kept)))
            files.replace(directory / "standby.signal", b"")
            (directory / "recovery.signal").unlink(missing_ok=True)

    # The work beside it

    def begin(self) -> None:
        """Mark it, and keep there what is this server's own, unless an earlier resync that was killed has done so."""
        if self.work.exists():
            return
        draft = self.work.with_name(f"{self.work.name}.draft")
        with self.as_owner():
            shutil.rmtree(draft, ignore_errors=True)
            (draft / "kept").mkdir(mode=0o700, parents=True)
            draft.chmod(0o700)
            for path in [*self.data.glob("*.conf"), *(self.data / name for name in (*KEPT, "PG_VERSION"))]:
                if path.is_file():
                    shutil.copy2(path, draft / "kept")
            os.rename(draft, self.work)
            files.sync(self.work.parent)

    def take(self) -> Path:
        """Take the data away, to make something of it."""
        return self._rename(self.data, self.remove("rewinding"))

    def put(self, directory: Path) -> None:
        """Make a whole directory the data; what was there before is kept until the end."""
        if self.data.exists():
            self._rename(self.data, self.remove("old"))
        self._rename(directory, self.data)

    def remove(self, name: str) -> Path:
        """Remove a directory of the work, if it is there; its path."""
        with self.as_owner():
            shutil.rmtree(self.work / name, ignore_errors=True)
        return self.work / name

    def finish(self) -> None:
        """Remove the work: the data is whole and in use."""
        gone = self.work.with_name(f"{self.work.name}.done")
        with self.as_owner():
            shutil.rmtree(gone, ignore_errors=True)
        self._rename(self.work, gone)  # at once, for it is the mark
        with self.as_owner():
            shutil.rmtree(gone, ignore_errors=True)

    def _rename(self, old: Path, new: Path) -> Path:
        with self.as_owner():
            os.rename(old, new)
            files.sync(old.parent)
            files.sync(new.parent)
        return new


def _with(settings: Mapping[str, str], text: str) -> bytes:
    """The text of a configuration file in which these settings hold."""
    lines = [line for line in text.splitlines() if _name_in(line) not in settings]
    lines += [f"{name} = {_quoted(value)}" for name, value in settings.items()]
    return os.fsencode("".join(f"{line}\n" for line in lines))


def _name_in(line: str) -> str:
    return line.partition("=")[0].strip().lower()


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value.replace("''", "'"))
