"""A database from a backup, a clone or a snapshot is recognized, and its waiting actions never run."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import clock
from agent.models import State
from agent.store import Store, actions, audit_events, from_backup
from tests.store.scenes import claim, finish, info, schedule

DAY = 86400.0


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file with the id of this machine."""
    file = tmp_path / "machine-id"
    file.write_text("one\n")
    monkeypatch.setattr(from_backup, "IDS", {"machine_id": file, "instance_id": tmp_path / "none"})
    yield file


def used(store: Store) -> from_backup.Witness:
    """Record a use of the store like an executor."""
    assert from_backup.fail_waiting(store, "") == 0
    witness = from_backup.Witness(store.path)
    witness.write(store)
    return witness


def found(store: Store, resume_within: float = DAY) -> str:
    return from_backup.reason(store, from_backup.Witness(store.path), resume_within)


def test_unchanged_database_of_the_last_run_is_continued(store: Store, machine: Path) -> None:
    schedule(store)
    used(store)
    schedule(store)  # after the witness was written, as before a power cut
    assert found(store) == ""


def test_older_copy_is_found_even_after_an_agent_started_on_it(store: Store, machine: Path) -> None:
    schedule(store)
    used(store)
    store.close()
    copy = store.path.with_name("copy")
    shutil.copyfile(store.path, copy)
    finish(store)
    used(store)
    store.close()
    copy.replace(store.path)
    older = Store(store.path)
    for _ in range(5):  # as many events as the copy lacks
        older.write(lambda connection: audit_events.add(connection, "agent.started", {}))
    assert "older copy" in found(older)
    older.close()


def test_a_clone_is_found_by_its_machine_id(store: Store, machine: Path) -> None:
    used(store)
    machine.write_text("two\n")
    assert "another machine" in found(store)
    machine.write_text("uninitialized\n")
    assert found(store) == "", "unknown proves nothing"


def test_a_snapshot_is_found_by_the_boot_and_the_time(
    store: Store, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used(store)
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + round((DAY + 1) * 1_000_000))
    assert found(store) == "", "the same boot: an agent that was stopped for long"
    monkeypatch.setattr(clock, "boot_id", lambda: "another boot")
    assert "no agent has used the database since" in found(store)
    assert found(store, 2 * DAY) == ""
    assert found(store, 0) == ""


def test_waiting_and_running_actions_of_a_backup_fail_with_the_reason(store: Store) -> None:
    ran, waits = schedule(store, secrets={"password": "x"}), schedule(store)
    claim(store)
    late = actions.newest(store)
    kept = schedule(store)
    assert from_backup.fail_waiting(store, "it is a copy", late) == 2
    for action_id, then in ((ran, "it was running then: look at what it changed, and"), (waits, "it did not run:")):
        action, history = info(store, action_id)
        assert (action.state, history[0].state) == (State.FAILED, State.FAILED)
        assert action.message == f"from a backup: it is a copy; {then} schedule it again if it is still wanted"
        assert action.state_payload == {"from_backup": True, "message": action.message}
    assert claim(store).action.id == kept
    events = audit_events.after(store, 0, 100)
    assert [each["details"] for each in events if each["event"] == "database.restored"] == [
        {"reason": "it is a copy", "failed": 2}
    ]


def test_action_without_its_secrets_in_the_copy_never_runs(store: Store) -> None:
    without = schedule(store, secrets={"password": "x"})
    kept = schedule(store)
    store.write(lambda connection: connection.execute("UPDATE actions SET secrets = '\"left out\"' WHERE seq = 1"))
    assert from_backup.fail_waiting(store, "") == 1
    assert "the copy has no secrets" in str(info(store, without)[0].message)
    assert claim(store).action.id == kept
