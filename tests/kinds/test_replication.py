"""The conditions for offering and starting a resync or promotion, and the reports of its job."""

import errno
import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.config import Settings, parse
from agent.datastores import resync_job, resync_report
from agent.datastores.base import Datastore, DatastoreDown, Role
from agent.datastores.progress import ResyncProgress
from agent.datastores.replication_requests import ResyncRequest
from agent.datastores.resync_report import Report
from agent.errors import ActionNotAvailable
from agent.jobs.jobs import Jobs, RunningJob as JobRunning
from agent.kinds import replication, resync_slave_db as resync_kind
from agent.kinds.base import Done, Failed, Kind, Running, StepResult
from agent.kinds.base.registry import discover
from agent.models import Json
from agent.supervisors.base import SupervisorFailed
from agent.supervisors.systemd.supervisor import Systemd
from agent.util import atomic_files
from agent.util.stop import Stop
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
def test_resync_without_a_needed_option_is_not_offered_with_the_reason(
    tmp_path: Path, tables: dict[str, object], reason: str
) -> None:
    registry = discover(settings(tmp_path, **tables))
    with pytest.raises(ActionNotAvailable, match=reason):
        registry.get("resync_slave_db")


def test_resync_with_all_needed_options_is_offered(tmp_path: Path) -> None:
    datastore = POSTGRESQL | {"data_directory": str(tmp_path)}
    registry = discover(settings(tmp_path, datastore=datastore, service=SERVICE))
    assert registry.get("resync_slave_db").name == "resync_slave_db"


class Unasked(Datastore):
    """Required methods of a datastore that no test here calls."""

    def shut_down(self, timeout: float, stop: Stop) -> str:
        raise NotImplementedError


class Replica(Unasked):
    """A datastore for plans; the test replaces the job that would rebuild it."""

    def __init__(self) -> None:
        pass

    def is_dirty(self) -> bool:
        return False

    def is_up(self) -> bool:
        return True

    def role(self) -> Role:
        return Role("replica", streaming=True)


class Server(Replica):
    """A server, `dirty` after an incomplete resync; `role` is None if it is down."""

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
def test_primary_is_not_rebuilt_without_force_after_an_incomplete_resync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server, begins: bool
) -> None:
    datastore = POSTGRESQL | {"data_directory": str(tmp_path)}
    kind = resync_kind.ResyncSlaveDb(settings(tmp_path, datastore=datastore, service=SERVICE))
    monkeypatch.setattr(kind, "datastore", server)
    assert isinstance(kind.step(step_of(kind)), Running if begins else Failed)
    assert isinstance(kind.step(step_of(kind, args={"force": True})), Running)


@pytest.mark.parametrize("role", [PRIMARY, ALONE, READ_ONLY, Role("replica")])
def test_incomplete_server_is_not_promoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: Role) -> None:
    kind = replication.Promote(settings(tmp_path, datastore=POSTGRESQL))
    monkeypatch.setattr(kind, "datastore", Server(role, dirty=True))
    for outcome in (kind.step(step_of(kind)), kind.resume(step_of(kind))):
        assert isinstance(outcome, Failed) and "is incomplete, so it cannot be a primary" in outcome.message


def test_server_that_goes_down_during_a_query_counts_as_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datastore = POSTGRESQL | {"data_directory": str(tmp_path)}
    kind = resync_kind.ResyncSlaveDb(settings(tmp_path, datastore=datastore, service=SERVICE))
    server = Server(None, dirty=True)
    monkeypatch.setattr(server, "is_up", lambda: True)
    monkeypatch.setattr(kind, "datastore", server)
    assert isinstance(kind.step(step_of(kind)), Running)


@pytest.mark.parametrize("take", ["step", "resume"])
def test_a_resync_that_the_agent_began_before_a_reboot_fails(
    take: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datastore = POSTGRESQL | {"data_directory": str(tmp_path)}
    kind = resync_kind.ResyncSlaveDb(settings(tmp_path, datastore=datastore, service=SERVICE))
    monkeypatch.setattr(kind, "datastore", Server(PRIMARY, dirty=False))
    outcome = getattr(kind, take)(step_of(kind, {"phase": "following", "begun": {}, "boot": "an earlier one"}))
    assert isinstance(outcome, Failed) and outcome.message == "the host was restarted while it ran"


LONG: dict[str, list[str]] = {
    "a dump of 300 GiB": ["copying the data", *(f"copying the data: {number * 64} MiB" for number in range(1, 4801))],
    "a Redis whose link breaks again and again": ["waiting for the primary", "receiving its data: 0 %"] * 2000,
    "a MongoDB that is asked and does not always answer": ["copying the data: 10 % of 200 bytes", "copying the data"]
    * 2000,
}


@pytest.mark.parametrize("words", LONG.values(), ids=LONG)
def test_history_of_a_long_resync_is_short(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reported = reported_by_the_job(words, tmp_path, monkeypatch)
    datastore = POSTGRESQL | {"data_directory": str(tmp_path)}
    kind = resync_kind.ResyncSlaveDb(settings(tmp_path, datastore=datastore, service=SERVICE))
    jobs = Seen(reported, tmp_path / "report")
    monkeypatch.setattr(kind, "_jobs", lambda: jobs)
    outcomes = steps(kind, len(reported))
    assert len({json.dumps(each.payload) for each in outcomes}) >= len(set(words)), "its progress can be watched"
    assert max(len(json.dumps(each.payload)) for each in outcomes) < 300
    assert len([each for each in outcomes if not each.measured]) <= 3, "the lines of the history"
    assert outcomes[-1].payload["phases"] == list(dict.fromkeys(word.split(": ")[0] for word in words))


def reported_by_the_job(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Report]:
    """The reports of a job whose datastore reports all this."""
    reports: list[Report] = []

    def rebuild(service: object, progress: ResyncProgress, request: ResyncRequest) -> Json:
        for word in words:
            progress(word)
        return {"rebuilt": True}

    store, path = SimpleNamespace(resync=rebuild), tmp_path / "written"
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"report": str(path)})))
    monkeypatch.setattr(Report, "write", lambda report, _: reports.append(report))
    monkeypatch.setattr("agent.datastores.resync_job.signal.signal", lambda *_: None)
    monkeypatch.setattr("agent.datastores.resync_job.config.load", lambda: parse({"datastore": POSTGRESQL}))
    monkeypatch.setattr("agent.datastores.resync_job.datastores.of", lambda _: store)
    assert resync_job.main() == 0
    monkeypatch.undo()
    assert Report.read(path) == replace(reports[-1], result={"rebuilt": True})
    return reports


def steps(kind: Kind, count: int) -> list[Running]:
    """The outcomes of so many steps, each with the payload of the previous one."""
    outcomes: list[Running] = []
    payload: Json = {"phase": "planned"}
    for _ in range(count):
        outcome = kind.step(step_of(kind, payload))
        assert isinstance(outcome, Running)
        outcomes.append(outcome)
        payload = outcome.payload
    return outcomes


class Seen:
    """Stand-in for the jobs: one job with a new report at each check."""

    def __init__(self, reports: list[Report], path: Path) -> None:
        self.reports, self.report = iter(reports), path

    def report_of(self, _: str) -> Path:
        return self.report

    def start(self, *_: object, **__: object) -> "Seen":
        return self

    find = start

    def await_end(self, *_: object) -> JobRunning:
        return self.look()

    def look(self) -> JobRunning:
        next(self.reports).write(self.report)
        return JobRunning(1, "", "")


JOB = """
import json, sys
from pathlib import Path
with Path(__file__).with_name("effect").open("a") as effect:
    effect.write("rebuilt\\n")
print("noise")
Path(json.load(sys.stdin)["report"]).write_text(json.dumps({"result": {}}))
"""
OLD_JOB = """
import json
print(json.dumps({"phase": "copying", "phases": ["copying"]}))
print("noise")
print(json.dumps({"result": {"method": "copy"}}))
"""


def kind_with_job(job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> resync_kind.ResyncSlaveDb:
    """The kind, with a job of the test's own."""
    folder = tmp_path / "agent" / "datastores"
    folder.mkdir(parents=True)
    for package in (folder, folder.parent):
        (package / "__init__.py").touch()
    (folder / "resync_job.py").write_text(job)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resync_kind, "_environment", lambda: {"PYTHONPATH": str(tmp_path)})
    datastore = POSTGRESQL | {"data_directory": str(tmp_path)}
    kind = resync_kind.ResyncSlaveDb(settings(tmp_path, datastore=datastore, service=SERVICE))
    monkeypatch.setattr(kind, "datastore", Replica())
    return kind


def test_agent_killed_before_the_end_is_stored_does_not_rebuild_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = kind_with_job(JOB, tmp_path, monkeypatch)
    payload = kind.step(step_of(kind)).payload

    def ended() -> bool:
        return isinstance(kind.step(step_of(kind, payload)), Done)

    eventually(ended, "it is done")
    assert isinstance(kind.resume(step_of(kind, payload)), Done), "found again, as its end was not recorded"
    assert (tmp_path / "agent" / "datastores" / "effect").read_text() == "rebuilt\n"


@pytest.mark.parametrize("make", [resync_kind.ResyncSlaveDb, replication.Follow, replication.Demote])
def test_service_that_would_not_start_again_is_not_stopped(
    make: type[replication.OnReplica], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise SupervisorFailed("Unit postgresql.service is masked")

    def reached(*_: object, **__: object) -> None:
        pytest.fail("the server was changed")

    datastore = POSTGRESQL | {"data_directory": str(tmp_path), "peers": {"b": {"url": "postgresql://b/postgres"}}}
    kind = make(settings(tmp_path, datastore=datastore, service=SERVICE))
    monkeypatch.setattr(Systemd, "allow_start", refuse)
    monkeypatch.setattr(Jobs, "start", reached)
    for method in ("follow", "demote"):
        monkeypatch.setattr(kind.datastore, method, reached)
    ended = kind.step(step_of(kind, {"phase": "planned"}, args={"primary": "b"}))
    assert isinstance(ended, Failed) and ended.message == "Unit postgresql.service is masked"


def test_printed_report_of_a_job_of_an_older_agent_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = kind_with_job(OLD_JOB, tmp_path, monkeypatch)
    payload = kind.step(step_of(kind)).payload

    def ended() -> StepResult | None:
        outcome = kind.step(step_of(kind, payload))
        return None if isinstance(outcome, Running) else outcome

    end = eventually(ended, "it has ended")
    assert isinstance(end, Done) and end.payload["method"] == "copy"


@pytest.mark.parametrize("broken", [b"", b"{", b"[1]", b'{"newer": 1}'])
def test_unreadable_report_counts_as_none(tmp_path: Path, broken: bytes) -> None:
    assert Report.read(tmp_path / "report") == Report()
    (tmp_path / "report").write_bytes(broken)
    assert Report.read(tmp_path / "report") == Report()


def test_full_disk_delays_the_report_of_a_resync_without_failing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, room = tmp_path / "report", iter([False, False, True])
    written = atomic_files.replace

    def full(path: Path, data: bytes, **options: Any) -> None:
        if not next(room):
            raise OSError(errno.ENOSPC, "no space left on device")
        written(path, data, **options)

    monkeypatch.setattr(atomic_files, "replace", full)
    monkeypatch.setattr(resync_report, "RETRY", 0.01)
    Report("copying").write(path)
    assert not path.exists()
    Report("copying", error="the disk is full").write_end(path)
    assert Report.read(path).error == "the disk is full"
