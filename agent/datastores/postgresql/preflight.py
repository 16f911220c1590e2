"""Check the requirements of a resync of a PostgreSQL before anything is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from agent.datastores.base import DatastoreError
from agent.datastores.postgresql.decision import Decision, in_step, refused
from agent.datastores.postgresql.files import DataDirectory
from agent.datastores.postgresql.own_state import MUST_FIT, OwnState
from agent.datastores.postgresql.primary import Primary
from agent.datastores.postgresql.source import (
    Source,
    missing_for_rewind,
    size_of,
    why_no_room_for_senders,
    why_slot_cannot_be_used,
)
from agent.datastores.postgresql.tablespaces import TablespaceLink, places_for, places_of, size_of_tree, why_no_room

ROOM = 64 * 1024 * 1024
"""Bytes that must be free in addition to the data, for WAL that arrives meanwhile."""


def check(
    decision: Decision, mine: OwnState, source: Source, primary: Primary, data: DataDirectory, *, force: bool = False
) -> Decision:
    """The decision, or a refusal that names the first missing requirement.

    `force` permits a resync without the estimated free space: file systems can share blocks, and the old data is kept
    if the disk becomes full.
    """
    for missing in _missing(decision, mine, source, primary, data):
        return missing
    if decision.method not in ("rewind", "copy") or (why := _no_room(decision, mine, source, primary, data)) is None:
        return decision
    if not force:
        why = f"{why}: the old data stays until the new data follows"
        return refused(why, "free that space; force tries it, and restores the old data if the disk fills up")
    return replace(decision, warnings=[*decision.warnings, f"{why}: if the disk fills up, the old data is put back"])


def bytes_needed(method: str, mine: OwnState, source: Source, primary: Primary, data: DataDirectory) -> int | None:
    """Bytes of free disk for the new data in addition to the old data; None if the source's size is unknown."""
    if method == "rewind":
        return _own_size(data) + ROOM
    if method == "copy":
        size = size_of(primary)
        return None if size is None else size + ROOM
    return 0


def _missing(
    decision: Decision, mine: OwnState, source: Source, primary: Primary, data: DataDirectory
) -> Iterator[Decision]:
    if (small := _too_small(mine, source)) is not None:
        yield refused(small, "a standby needs at least its primary's values: change the setting here first")
    wanted = 2 if decision.method == "copy" else 1
    ours = in_step(mine, primary.endpoint)
    if not ours and (why := why_no_room_for_senders(primary, wanted)) is not None:
        yield refused(why, f"allow {wanted} replication connections there: pg_hba.conf, max_wal_senders, REPLICATION")
    if (why := why_slot_cannot_be_used(primary, ours=ours)) is not None:
        yield refused(why, "free the slot, or set another primary_slot_name on this server")
    if decision.method == "rewind":
        yield from _for_rewind(source, primary)
    if decision.method in ("rewind", "copy"):
        yield from _on_disk(decision, source, data)


def _too_small(mine: OwnState, source: Source) -> str | None:
    for name, default in MUST_FIT.items():
        here, there = int(mine.settings.get(name, default)), source.settings[name]
        if here < there:
            return f"{name} is {here} on this server and {there} on its source: the server would not start as a standby"
    return None


def _for_rewind(source: Source, primary: Primary) -> Iterator[Decision]:
    if missing := missing_for_rewind(primary):
        user = primary.target.params.get("user")
        yield refused(
            f"the account {user} may not call {', '.join(missing)} on {primary.target.address}, which pg_rewind needs",
            "grant EXECUTE on these functions there, or request mode copy",
        )
    if not source.full_page_writes:
        yield refused(f"full_page_writes is off on {primary.target.address}", "switch it on, or request mode copy")


def _on_disk(decision: Decision, source: Source, data: DataDirectory) -> Iterator[Decision]:
    try:
        data.check()
        _places(decision, source, data)
    except DatastoreError as error:
        yield refused(str(error), "make room for the new data next to the old data")


def _places(decision: Decision, source: Source, data: DataDirectory) -> list[TablespaceLink]:
    return places_of(data) if decision.method == "rewind" else places_for(data, source.tablespaces)


def _no_room(decision: Decision, mine: OwnState, source: Source, primary: Primary, data: DataDirectory) -> str | None:
    """A sentence about a disk with too little free space; None if there is none, or if the size is unknown."""
    needed = bytes_needed(decision.method, mine, source, primary, data)
    if needed is None:
        return None
    places = _places(decision, source, data)
    outside = [(Path(each.new), size_of_tree(Path(each.now)) if each.now else 0) for each in places if each.new]
    inside = max(0, needed - sum(size for _, size in outside))
    return why_no_room([(data.data.parent, inside), *outside])


def _own_size(data: DataDirectory) -> int:
    """Size of the data directory and of the directories that it links to."""
    links = [Path(each.now) for each in places_of(data)]
    return size_of_tree(data.present) + sum(size_of_tree(each) for each in links)
