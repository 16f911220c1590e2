"""Read the state of a PostgreSQL from its files: control file, timelines, end of WAL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.datastores.base import DatastoreError
from agent.datastores.postgresql.files import DataDirectory
from agent.datastores.postgresql.timelines import Branch, Position, branches_of, lsn, segment_of, shown
from agent.util import atomic_files

INVALID = re.compile(r"error in WAL record at ([0-9A-F]+/[0-9A-F]+): (?:.*? at ([0-9A-F]+/[0-9A-F]+))?")
WORK = re.compile(r"^Transaction/(COMMIT|COMMIT_PREPARED|PREPARE)\s+(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Control:
    """The control file. `rewindable`: checksums or wal_log_hints are on, so pg_rewind can find changed blocks."""

    system: str
    state: str
    checkpoint: int
    timeline: int
    min_recovery: int
    min_recovery_timeline: int
    rewindable: bool
    segment: int

    @property
    def shut_down(self) -> bool:
        """Whether the server was shut down cleanly as a primary."""
        return self.state == "shut down"


def read_control(data: DataDirectory) -> Control:
    """Read the control file. Raises `DatastoreError` if it is missing or damaged."""
    outcome = data.run("pg_controldata", str(data.present))
    if not outcome.ok or "WARNING" in outcome.stdout:
        output = " ".join((outcome.stderr or outcome.stdout).split())[:200]
        raise DatastoreError(f"the control file of {data.present} cannot be read: {output}")
    found = dict(re.findall(r"^(.+?):\s*(.*)$", outcome.stdout, re.MULTILINE))
    return Control(
        system=found["Database system identifier"],
        state=found["Database cluster state"],
        checkpoint=lsn(found["Latest checkpoint location"]),
        timeline=int(found["Latest checkpoint's TimeLineID"]),
        min_recovery=lsn(found["Minimum recovery ending location"]),
        min_recovery_timeline=int(found["Min recovery ending loc's timeline"]),
        rewindable=found["wal_log_hints setting"] == "on" or found["Data page checksum version"] != "0",
        segment=int(found["Bytes per WAL segment"]),
    )


def branches(data: DataDirectory, timeline: int) -> tuple[Branch, ...]:
    """The history of a timeline from the server's own history file. Raises `DatastoreError` if it is missing."""
    if timeline == 1:
        return branches_of("", 1)
    content = atomic_files.read(data.present / "pg_wal" / f"{timeline:08X}.history")
    if content is None:
        raise DatastoreError(f"the history of timeline {timeline} is missing in {data.present}/pg_wal")
    return branches_of(content.decode(errors="replace"), timeline)


def timeline_at(data: DataDirectory, position: int, segment: int, known: int) -> int:
    """The newest timeline of the WAL files at this LSN; the control file of a replica may not have it yet."""
    place = position // segment * segment
    there = [timeline for timeline, start in _segments(data, segment) if start == place]
    return max([known, *(each for each in there if each >= known and _descends(data, each, known))])


def end_by_files(data: DataDirectory, control: Control) -> Position:
    """The position of the end of WAL of a stopped server. Raises `DatastoreError` if it is unknown."""
    least = max(control.timeline, control.min_recovery_timeline)
    there = {timeline for timeline, _ in _segments(data, control.segment)} | {least}
    for timeline in sorted(there, reverse=True):
        if timeline < least or not _descends(data, timeline, least):
            continue
        way = branches(data, timeline)
        begin = max(control.checkpoint, way[-1].begin)
        end = _end_of_wal(data, timeline, begin) if has_segment(data, timeline, begin, control.segment) else None
        if end is not None:
            return Position(way, max(end, control.min_recovery))
    if control.state.endswith("in recovery") and control.min_recovery:
        return Position(branches(data, least), control.min_recovery)
    raise DatastoreError(f"the WAL that {data.present} needs from {shown(control.checkpoint)} on is missing or damaged")


def commits_after(data: DataDirectory, timeline: int, start: int) -> int | None:
    """Number of transactions committed or prepared in the WAL from this LSN on; None if it cannot be read.

    Check `has_segment` first: pg_waldump waits five seconds for a missing file.
    """
    outcome = data.run(
        "pg_waldump", f"--path={data.present / 'pg_wal'}", "--stats=record", "--rmgr=Transaction",
        f"--timeline={timeline}", f"--start={shown(start)}",
    )  # fmt: skip
    if "WAL statistics" not in outcome.stdout:  # no statistics without records
        return 0 if INVALID.search(outcome.stderr) or "could not find a valid record" in outcome.stderr else None
    return sum(int(count) for _, count in WORK.findall(outcome.stdout))


def has_segment(data: DataDirectory, timeline: int, position: int, segment: int) -> bool:
    """Whether the WAL file of an LSN still exists."""
    return (timeline, position // segment * segment) in set(_segments(data, segment))


def unused_wal(data: DataDirectory, control: Control) -> frozenset[Path]:
    """The WAL files that a cleanly shut down server has only recycled for later use: they contain none of its WAL.

    Empty unless it was shut down as a primary. The segment after the shutdown checkpoint counts as used, because that
    record may continue there.
    """
    if not control.shut_down:
        return frozenset()
    used = control.checkpoint + control.segment
    folder = data.present / "pg_wal"
    found = ((path.name, segment_of(path.name, control.segment)) for path in folder.iterdir())
    names = [name for name, segment in found if segment is not None and segment[1] > used]
    return frozenset(place / name for place in (folder, folder.resolve()) for name in names)


def _end_of_wal(data: DataDirectory, timeline: int, start: int) -> int | None:
    """The end of the last valid record from this LSN on; None without a valid record."""
    outcome = data.run(
        "pg_waldump", f"--path={data.present / 'pg_wal'}", "--quiet",
        f"--timeline={timeline}", f"--start={shown(start)}",
    )  # fmt: skip
    found = INVALID.search(outcome.stderr)
    return lsn(found[2] or found[1]) if found else None


def _segments(data: DataDirectory, size: int) -> Iterator[tuple[int, int]]:
    for path in (data.present / "pg_wal").iterdir():
        if (found := segment_of(path.name, size)) is not None:
            yield found


def _descends(data: DataDirectory, timeline: int, parent: int) -> bool:
    """Whether a timeline is the given one or descends from it."""
    if timeline == parent:
        return True
    try:
        return parent in {each.timeline for each in branches(data, timeline)}
    except DatastoreError:
        return False
