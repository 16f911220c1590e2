"""What a node must have to offer a resync."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.config import Settings, parse
from agent.datastores import resync
from agent.datastores.base import Datastore, DatastoreDown, Role
from agent.datastores.progress import Progress
from agent.datastores.requests import ResyncRequest
from agent.errors import ActionNotAvailable
from agent.hosts.jobs import Running as JobRunning
from agent.kinds import replication
from agent.kinds import resync as resync_kind
from agent.kinds.base import Done, Failed, Kind, Running
from agent.kinds.registry import discover
from agent.models import Json
from agent.stop import Stop
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


class Unasked(Datastore):
    """What a datastore must have; no test here calls it."""

    def shut_down(self, timeout: float, stop: Stop) -> str:
        raise NotImplementedError


class Replica(Unasked):
    """A datastore to look at; the job that would rebuild it is the test's own."""

    def __init__(self) -> None:
        pass

    def is_dirty(self) -> bool:
        return False

    def is_up(self) -> bool:
        return True

    def role(self) -> Role:
        return Role("replica", streaming=True)


class Server(Replica):
    """One that a resync left half way, or another; `role` is what it says, None where it is down."""

    def __init__(self, role: Role | None, *, dirty: bool) -> None:
        self._role, self._dirty = role, dirty

    def is_dirty(self) -> bool:
        return self._dirty

    def is_up(self) -> bool:
        return self._role is not None

    def role(self) -> Role:
        if self._role is None:
            raise DatastoreDown("nothing listens")
        return self._role


PRIMARY = Role("primary", writable=True)
ALONE = Role("standalone", writable=True)
READ_ONLY = Role("standalone")


@pytest.mark.parametrize(
    ("server", "begins"),
    [
        (Server(PRIMARY, dirty=True), False),
        (Server(ALONE, dirty=True), False),
        (Server(READ_ONLY, dirty=False), False),
        (Server(READ_ONLY, dirty=True), True),
        (Server(Role("replica"), dirty=False), True),
        (Server(Role("replica"), dirty=True), True),
        (Server(None, dirty=False), True),
        (Server(None, dirty=True), True),
    ],
)
def test_a_primary_is_not_rebuilt_without_force_whatever_a_resync_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server, begins: bool
) -> None:
    datastore = POSTGRESQL | {"data_directory": str(tmp_path)}
    kind = resync_kind.Resync(settings(tmp_path, datastore=datastore, service=SERVICE))
    monkeypatch.setattr(kind, "datastore", server)
    assert isinstance(kind.step(step_of(kind)), Running if begins else Failed)
    assert isinstance(kind.step(step_of(kind, args={"force": True})), Running)


@pytest.mark.parametrize("role", [PRIMARY, ALONE, READ_ONLY, Role("replica")])
def test_what_is_not_whole_is_not_promoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: Role) -> None:
    kind = replication.Promote(settings(tmp_path, datastore=POSTGRESQL))
    monkeypatch.setattr(kind, "datastore", Server(role, dirty=True))
    for outcome in (kind.step(step_of(kind)), kind.resume(step_of(kind))):
        assert isinstance(outcome, Failed) and "is not whole, so it cannot be a primary" in outcome.message


def test_a_server_that_goes_down_while_it_is_asked_counts_as_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datastore = POSTGRESQL | {"data_directory": str(tmp_path)}
    kind = resync_kind.Resync(settings(tmp_path, datastore=datastore, service=SERVICE))
    server = Server(None, dirty=True)
    monkeypatch.setattr(server, "is_up", lambda: True)
    monkeypatch.setattr(kind, "datastore", server)
    assert isinstance(kind.step(step_of(kind)), Running)


LONG: dict[str, list[str]] = {
    "a dump of 300 GiB": ["copying the data", *(f"copying the data: {number * 64} MiB" for number in range(1, 4801))],
    "a Redis whose link breaks again and again": ["awaiting the primary", "receiving its data: 0 %"] * 2000,
    "a MongoDB that is asked and does not always answer": ["copying the data: 10 % of 200 bytes", "copying the data"]
    * 2000,
}


@pytest.mark.parametrize("words", LONG.values(), ids=LONG)
def test_however_long_a_resync_takes_its_history_is_short(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = told_by_the_job(words, monkeypatch, capsys)
    datastore = POSTGRESQL | {"data_directory": str(tmp_path)}
    kind = resync_kind.Resync(settings(tmp_path, datastore=datastore, service=SERVICE))
    jobs = Seen(told)
    monkeypatch.setattr(kind, "_jobs", lambda: jobs)
    outcomes = steps(kind, len(told))
    assert len({json.dumps(each.payload) for each in outcomes}) >= len(set(words)), "its progress can be watched"
    assert max(len(json.dumps(each.payload)) for each in outcomes) < 300
    assert len([each for each in outcomes if not each.measured]) <= 3, "the lines of the history"
    assert outcomes[-1].payload["phases"] == list(dict.fromkeys(word.split(": ")[0] for word in words))


def told_by_the_job(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that the job prints of a datastore that says all this of its resync."""

    def rebuild(service: object, progress: Progress, request: ResyncRequest) -> Json:
        for word in words:
            progress(word)
        return {"rebuilt": True}

    store = SimpleNamespace(resync=rebuild)
    monkeypatch.setattr("sys.stdin", io.StringIO("{}"))
    monkeypatch.setattr("agent.datastores.resync.signal.signal", lambda *_: None)
    monkeypatch.setattr("agent.datastores.resync.config.load", lambda: parse({"datastore": POSTGRESQL}))
    monkeypatch.setattr("agent.datastores.resync.datastores.of", lambda _: store)
    assert resync.main() == 0
    *told, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == {"result": {"rebuilt": True}}
    return told


def steps(kind: Kind, count: int) -> list[Running]:
    """The outcomes of so many steps, each of which sees the payload of the one before."""
    outcomes: list[Running] = []
    payload: Json = {"phase": "planned"}
    for _ in range(count):
        outcome = kind.step(step_of(kind, payload))
        assert isinstance(outcome, Running)
        outcomes.append(outcome)
        payload = outcome.payload
    return outcomes


class Seen:
    """Jobs of which there is one, which has told a line more at each look; the last lines are kept, as by a job."""

    def __init__(self, told: list[str]) -> None:
        self.told, self.seen = told, 0

    def start(self, *_: object, **__: object) -> "Seen":
        return self

    def await_end(self, *_: object) -> JobRunning:
        return self.look()

    def look(self) -> JobRunning:
        self.seen += 1
        return JobRunning(1, "\n".join(self.told[max(0, self.seen - 10) : self.seen]), "")


JOB = """
import json
from pathlib import Path
with Path(__file__).with_name("effect").open("a") as effect:
    effect.write("rebuilt\\n")
print(json.dumps({"result": {}}))
"""


def test_an_agent_killed_before_the_end_is_written_down_does_not_rebuild_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "agent" / "datastores"
    folder.mkdir(parents=True)
    for package in (folder, folder.parent):
        (package / "__init__.py").touch()
    (folder / "resync.py").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resync_kind, "_environment", lambda: {"PYTHONPATH": str(tmp_path)})
    datastore = POSTGRESQL | {"data_directory": str(tmp_path)}
    kind = resync_kind.Resync(settings(tmp_path, datastore=datastore, service=SERVICE))
    monkeypatch.setattr(kind, "datastore", Replica())
    payload = kind.step(step_of(kind)).payload

    def ended() -> bool:
        return isinstance(kind.step(step_of(kind, payload)), Done)

    eventually(ended, "it is done")
    assert isinstance(kind.resume(step_of(kind, payload)), Done), "found again, as its end was not recorded"
    assert (folder / "effect").read_text() == "rebuilt\n"
