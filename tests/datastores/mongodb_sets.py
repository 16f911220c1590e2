"""Scripted replica sets, and the driver of one member."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.datastores.base import Datastore
from agent.datastores.replication_requests import ResyncRequest
from tests.datastores.reports import into
from tests.datastores.scripted_mongod import Group, Member, Service
from tests.datastores.test_mongodb import at


@contextmanager
def replica_set(*states: str) -> Iterator[Group]:
    """A set with members in these states; a primary and two secondaries unless said otherwise."""
    group = Group()
    try:
        for state in states or ("PRIMARY", "SECONDARY", "SECONDARY"):
            group.add(state)
        yield group
    finally:
        for each in group.members:
            each.stop()


def store_of(member: Member, **options: Any) -> Datastore:
    """The store of a member, with its data directory if it has one."""
    directory = {"data_directory": str(member.directory)} if member.directory else {}
    return at(f"mongodb://{member.address}/", **{"timeout": 2} | directory | options)


def peers(**members: Member) -> dict[str, Any]:
    """The option `peers` of a datastore."""
    return {"peers": {name: {"url": f"mongodb://{member.address}/"} for name, member in members.items()}}


def data_directory(path: Path) -> Path:
    """A data directory with data, and with files of the server that are no data."""
    (path / "data/journal").mkdir(parents=True)
    for name in ("WiredTiger", "collection-0.wt", "journal/log.1", "keyfile", "mongod.log"):
        (path / "data" / name).write_text("old")
    return path / "data"


def resync(store: Datastore, service: Service | None, **request: Any) -> tuple[Any, list[str]]:
    """The result and the reported phases."""
    phases: list[str] = []
    return store.resync(service, into(phases), ResyncRequest(**request)), phases
