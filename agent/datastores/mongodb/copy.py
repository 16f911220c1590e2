"""Check the requirements of a copy before the member is stopped and its data is set aside."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreRefused
from agent.datastores.mongodb import files
from agent.datastores.mongodb.member import MemberState
from agent.datastores.mongodb.primary import Primary
from agent.datastores.refusal import PlanRefused

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB
    from agent.supervisors.base import Supervisor


@dataclass(frozen=True, slots=True)
class Copy:
    """A possible copy: `directory` of the data, `bytes` of the copy, `keep_old` if the disk also holds the old data."""

    directory: Path
    bytes: int
    free: int
    old_bytes: int
    keep_old: bool


def prepare(
    here: MongoDB, service: Supervisor | None, state: MemberState | None, primary: Primary, me: str, *, force: bool
) -> Copy:
    """Check the requirements. Raises `PlanRefused`, `DatastoreError`. `state`: None if this server does not start."""
    if service is None:
        raise DatastoreRefused("set [service]: MongoDB is stopped and started for a resync")
    directory = directory_of(here)
    files.check_movable(directory)
    _check_source(primary, me)
    if not force:
        _check_majority(primary, me)
    if state is not None:
        _check_version(here, primary.server)
    return _with_room(directory, primary.server, force=force)


def directory_of(here: MongoDB) -> Path:
    """The configured data directory. Raises `DatastoreRefused` if it is missing or differs from the server's.

    It must be configured: during the initial sync the server has no users, so it cannot be queried.
    """
    directory = here.settings.data_directory
    if directory is None:
        raise DatastoreRefused(
            "set datastore.data_directory: the agent must find the old data while MongoDB cannot be queried"
        )
    reported = here.reported_directory()
    if reported is not None and os.path.realpath(reported) != os.path.realpath(directory):
        raise DatastoreRefused(f"datastore.data_directory is {directory}, and MongoDB has its data in {reported}")
    names = ("WiredTiger", files.EMPTYING, files.EMPTIED)
    if not any((directory / name).exists() for name in names):
        raise DatastoreRefused(f"datastore.data_directory, {directory}, holds no data of MongoDB")
    return directory


def _check_source(primary: Primary, me: str) -> None:
    """Check that a source exists. The primary is one, unless it is unreachable now."""
    if not any(each.has_data for each in primary.state.members if each.address != me):
        raise PlanRefused("no other member of the set has the data and can be reached", "repair another member first")


def _check_majority(primary: Primary, me: str) -> None:
    """Check the majority: until its initial sync ends, this member neither votes nor acknowledges writes."""
    there = primary.state
    itself = there.seen(me)
    if itself is None or not itself.votes:
        return
    votes = sum(each.votes for each in there.members if each.reachable and each.address != me)
    if votes < there.majority:
        total = sum(each.votes for each in there.members)
        raise PlanRefused(
            f"without this member, {votes} of the {total} votes of the set {there.set_name} are reachable, "
            f"and {there.majority} are needed: the primary would step down",
            "start another member first; force stops this member anyway",
        )


def _check_version(here: MongoDB, primary: MongoDB) -> None:
    """Check the version: a member older than the set's feature compatibility version cannot join."""
    answer = primary.command("getParameter", featureCompatibilityVersion=1)
    wanted = str(answer.get("featureCompatibilityVersion", {}).get("version", ""))
    version = str(here.command("buildInfo").get("version", ""))
    if wanted and version and _numbers(version)[:2] < _numbers(wanted)[:2]:
        raise PlanRefused(
            f"this server is MongoDB {version}, and the set has the feature compatibility version {wanted}",
            f"install MongoDB {wanted} or later here",
        )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split("-")[0].split(".") if part.isdigit()]


def _with_room(directory: Path, primary: MongoDB, *, force: bool) -> Copy:
    needed = int(primary.command("listDatabases").get("totalSize", 0))
    old = files.size(*files.data_of(directory))
    statistics = os.statvfs(directory)
    free = statistics.f_bavail * statistics.f_frsize
    if free >= needed:
        return Copy(directory, needed, free, old, keep_old=True)
    if free + old < needed:
        raise PlanRefused(
            f"the copy needs {needed} bytes in {directory}, and {free + old} are free without the old data",
            "free the space",
        )
    if not force:
        raise PlanRefused(
            f"the disk does not hold the copy beside the old data: {needed} bytes are needed in {directory}, "
            f"{free} are free",
            "free the space; force deletes the old data first; it cannot be restored",
        )
    return Copy(directory, needed, free, old, keep_old=False)


def facts(copy: Copy) -> dict[str, Any]:
    return {"copy_bytes": copy.bytes, "free_bytes": copy.free, "old_bytes": copy.old_bytes, "keep_old": copy.keep_old}
