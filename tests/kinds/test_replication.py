"""What a node must have to offer a resync."""

from pathlib import Path

import pytest

from agent.config import Settings, parse
from agent.datastores.base import Role
from agent.errors import ActionNotAvailable
from agent.kinds import replication
from agent.kinds.base import Done
from agent.kinds.registry import discover
from tests.agent_process import eventually
from tests.kinds.performing import step_of

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


JOB = """
import json
from pathlib import Path
with Path(__file__).with_name("effect").open("a") as effect:
    effect.write("rebuilt\\n")
print(json.dumps({"result": {}}))
"""


class Replica:
    """A datastore to look at; the job that would rebuild it is the test's own."""

    def is_dirty(self) -> bool:
        return False

    def is_up(self) -> bool:
        return True

    def role(self) -> Role:
        return Role("replica", streaming=True)


def test_an_agent_killed_before_the_end_is_written_down_does_not_rebuild_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "agent" / "datastores"
    folder.mkdir(parents=True)
    for package in (folder, folder.parent):
        (package / "__init__.py").touch()
    (folder / "resync.py").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(replication, "_environment", lambda: {"PYTHONPATH": str(tmp_path)})
    datastore = POSTGRESQL | {"data_directory": str(tmp_path)}
    kind = replication.Resync(settings(tmp_path, datastore=datastore, service=SERVICE))
    monkeypatch.setattr(kind, "datastore", Replica())
    payload = kind.step(step_of(kind)).payload

    def ended() -> bool:
        return isinstance(kind.step(step_of(kind, payload)), Done)

    eventually(ended, "it is done")
    assert isinstance(kind.resume(step_of(kind, payload)), Done), "found again, as its end was not recorded"
    assert (folder / "effect").read_text() == "rebuilt\n"
