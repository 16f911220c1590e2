"""agentctl db: back up, restore, check and maintain the agent's database."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any

import click

from agent import config
from agent.cli import audit, exits
from agent.cli.exits import Missing, Usage
from agent.cli.host import as_owner, started_by
from agent.cli.options import Decorator, local
from agent.config.core import Agent
from agent.errors import StoreUnavailable, StoreUnusable
from agent.util import atomic_files, drop_privileges

MIB = 1024 * 1024


@click.group("db")
def db_command() -> None:
    """The database of this host's agent: back up, restore, check, downgrade.

    The commands run as the agent's user. `backup` and `check` work while the agent runs, the others need it stopped.
    """


def _of_database(name: str, *examples: str) -> Decorator:
    """A command on the configured database, called with its path."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        @wraps(function)
        def on_database(**more: Any) -> Any:
            db = config.load().agent.db
            drop_privileges.become(db)
            try:
                return function(db, **more)
            except (StoreUnusable, StoreUnavailable) as error:
                causes = error.layers if isinstance(error, StoreUnavailable) else [str(error)]
                raise Usage("; ".join(causes)) from None
            except sqlite3.Error as error:
                raise Usage(f"{db} cannot be used: {error}") from None

        command = local(name, examples=examples)(as_owner(on_database))
        db_command.add_command(command)
        return command

    return decorate


@_of_database("backup", "agentctl db backup /var/backups/agent-$(date +%F).db")
@click.argument("file", type=click.Path(path_type=Path))
def backup_command(db: Path, file: Path) -> None:
    """Copy the database to FILE while the agent runs.

    The copy is consistent, checked, and readable by its owner only (mode 0600). It contains no secrets, so waiting
    actions that need one cannot run after a restore. FILE.key is a copy of the key by which secrets are
    compared. The output of commands (agent.output) is not included.
    """
    with _reading(db) as connection:
        try:
            _copy(connection, db, file)
        except FileExistsError as error:
            raise Usage(f"{error.filename2 or error.filename or file} exists: name a new file") from None
        except OSError as error:
            raise Usage(f"{file} cannot be written by {_user()}: {error.strerror}") from None
        except sqlite3.Error as error:
            raise Usage(f"{file} cannot be made from {db}: {error}") from None
    print(f"{file}: {file.stat().st_size / MIB:.1f} MiB, checked")
    _note(db, "database.copied", {"to": str(file.absolute())})


@_of_database("restore", "agentctl db restore /var/backups/agent-2026-11-26.db")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--keep-queue", is_flag=True, help="Keep the actions that waited or ran when the copy was made.")
def restore_command(db: Path, file: Path, keep_queue: bool) -> None:
    """Replace the database with the copy FILE.

    Actions that are NEW or RUNNING in the copy become FAILED, so that old actions do not run again. The replaced
    database is kept beside the new one. The agent must be stopped, and no job of an action may run.
    """
    from agent.store.restore import key_of, restore

    _check_readable(file)
    with suppress(Missing):
        _check_readable(key_of(file))
    with _stopped(db):
        _refuse_running_jobs(Agent(db=db).jobs)
        done = restore(file, db, started_by(), keep_queue=keep_queue)
    print(f"{db} is the copy of {file}: {done.failed} waiting actions are FAILED, {done.waiting} wait")
    if done.replaced is not None:
        print(f"the replaced database is {done.replaced}: remove it when you no longer need it")


@_of_database("check", "agentctl db check")
def check_command(db: Path) -> int:
    """Check the whole database for damage, and the audit trail for changes by other programs."""
    from agent.store import copies
    from agent.store.migrate import migrations, needs, refuse_foreign, version

    with _reading(db) as connection:
        refuse_foreign(connection)
        faults = list(filter(None, [copies.fault_of(connection), audit.fault_of(connection)]))
        newest = migrations()[-1].number
        if needs(connection) > newest:
            faults.append(
                f"schema {version(connection)} belongs to a newer agent; this agentctl supports up to schema {newest}"
            )
        for each in faults:
            print(f"{db}: {each}")
        if faults:
            print("stop the agent and run agentctl db restore with a backup; keep this file for an analysis")
            return exits.FAILED
        print(f"{db}: schema {version(connection)}, {db.stat().st_size / MIB:.1f} MiB, no fault found")
    return exits.DONE


@_of_database("vacuum", "agentctl db vacuum")
def vacuum_command(db: Path) -> None:
    """Return the free space inside the database to the file system. The agent must be stopped."""
    from agent.store import Store

    before = db.stat().st_size if db.exists() else 0
    with _stopped(db), closing(Store(db)) as store:
        if (free := shutil.disk_usage(db.parent).free) < 2 * before:
            raise Usage(f"{db.parent} has {free / MIB:.0f} MiB free, and {2 * before / MIB:.0f} MiB are needed")
        store.vacuum()
    print(f"{db}: {before / MIB:.1f} MiB before, {db.stat().st_size / MIB:.1f} MiB now")


@_of_database("downgrade", "agentctl db downgrade 10")
@click.argument("schema", type=click.IntRange(1))
def downgrade_command(db: Path, schema: int) -> None:
    """Downgrade the database to an earlier SCHEMA, for an earlier agent; docs/database.rst lists the schemas of agents.

    A copy is made first. Refused without any change if waiting actions need something that the earlier schema lacks.
    The agent must be stopped. Run this with the newer agentctl, then install the earlier agent.
    """
    from agent.store import copy_before_change, from_backup
    from agent.store.migrate import downgrade, migrations, version

    with _stopped(db), closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        if (found := version(connection)) < schema:
            raise Usage(f"{db} has schema {found}, which is earlier than {schema}: the agent's start upgrades it")
        if found == schema:
            print(f"{db} has schema {schema} already")
            return
        copy = copy_before_change(connection, db)
        # A schema without the audit trail lacks the event named in the file, and would look like an older copy.
        from_backup.Witness(db).forget()
        steps = downgrade(connection, migrations(), schema)
    for step in steps:
        print(f"schema {step.number} taken back: {step.down.partition(chr(10))[0].removeprefix('-- ')}")
    print(f"{db} has schema {schema}; {copy} is a copy of it with schema {found}")


@contextmanager
def _reading(db: Path) -> Iterator[sqlite3.Connection]:
    if not db.exists():
        raise Missing(f"there is no database at {db}")
    with closing(sqlite3.connect(f"{db.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


@contextmanager
def _stopped(db: Path) -> Iterator[None]:
    """Hold the executor's lock, so that no agent runs the queue. Raises `Usage` if an agent runs."""
    from agent.engine.lock import ExecutorLock

    if not db.parent.is_dir():
        raise Missing(f"there is no folder {db.parent}")
    lock = ExecutorLock(db)
    if not lock.take():
        raise Usage(f"an agent runs on {db} (process {lock.holder()}): stop it first")
    try:
        yield
    finally:
        lock.release()


def _refuse_running_jobs(jobs: Path) -> None:
    """Raises `Usage` if a job runs: after a restore no action would own it, and the next action would run beside it."""
    from agent.jobs.jobs import Jobs

    for name, pid in Jobs(jobs).running().items() if jobs.exists() else ():
        raise Usage(
            f"the job {name} of an action still runs (process {pid}): start the agent and wait for the action, or "
            "cancel it; then stop the agent"
        )


def _check_readable(file: Path) -> None:
    """Raises `Missing`, or `Usage` with the command that makes the file readable: backups often belong to root."""
    try:
        file.open("rb").close()
    except FileNotFoundError:
        raise Missing(f"there is no file {file}") from None
    except PermissionError:
        user = _user()
        raise Usage(
            f"{file} cannot be read by {user}: copy it beside the database; then run chown {user} FILE"
        ) from None
    except OSError as error:
        raise Usage(f"{file} cannot be read: {error.strerror}") from None


def _copy(connection: sqlite3.Connection, db: Path, file: Path) -> None:
    """Copy the key, then the database: a copy without the key would look complete. Raises `FileExistsError`."""
    from agent.store import copies
    from agent.store.restore import key_of

    if file.exists():
        raise FileExistsError(errno.EEXIST, "exists", str(file))
    key = atomic_files.read(key_of(db))
    if key is not None and not atomic_files.create(key_of(file), key):
        raise FileExistsError(errno.EEXIST, "exists", str(key_of(file)))
    try:
        copies.make(connection, file)
    except BaseException:
        if key is not None:
            atomic_files.remove(key_of(file))
        raise


def _user() -> str:
    from agent.auth import trusted_file

    return trusted_file.user(os.geteuid())


def _note(db: Path, event: str, details: dict[str, str]) -> None:
    """Add an event to the audit trail; a failure is only printed, because the copy is complete."""
    if reason := audit.note(db, event, started_by(), details):
        print(f"not recorded in the audit trail: {reason}")
