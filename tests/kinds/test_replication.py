"""What a node must have to offer a resync."""

from pathlib import Path

import pytest

from agent.config import Settings, parse
from agent.errors import ActionNotAvailable
from agent.kinds.registry import discover

POSTGRESQL = {"kind": "postgresql", "url": "postgresql:///postgres"}
SERVICE = {"supervisor": "systemd", "unit": "postgresql.service"}


def settings(tmp_path: Path, **tables: object) -> Settings:
    return parse({"agent": {"db": str(tmp_path / "agent.db")}, **tables})


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ({}, r"set \[datastore\] in the configuration"),
        ({"datastore": POSTGRESQL}, r"set \[service\] in the configuration"),
        ({"datastore": POSTGRESQL, "service": SERVICE}, "set datastore.data_directory in the configuration"),
    ],
)
def test_a_resync_that_lacks_something_is_not_offered_and_says_what(
    tmp_path: Path, tables: dict[str, object], reason: str
) -> None:
    registry = discover(settings(tmp_path, **tables))
    with pytest.raises(ActionNotAvailable, match=reason):
        registry.get("resync_slave_db")


def test_a_resync_that_has_all_it_needs_is_offered(tmp_path: Path) -> None:
    datastore = POSTGRESQL | {"data_directory": str(tmp_path)}
    registry = discover(settings(tmp_path, datastore=datastore, service=SERVICE))
    assert registry.get("resync_slave_db").name == "resync_slave_db"
