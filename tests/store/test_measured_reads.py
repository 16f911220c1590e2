"""An action and its history are read in two steps, between which a measurement may replace a row."""

import pytest

from agent.api.info import _read
from agent.models import Action
from agent.store import Store, actions, transitions
from tests.store.scenes import claim, schedule


def test_a_measurement_between_the_two_reads_is_not_missing_from_the_history(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    action_id = schedule(store)
    seq = claim(store).action.seq
    transitions.record(store, seq, 1, measured=True)
    read_version = actions.by_id

    def measured_meanwhile(store: Store, action_id: str) -> tuple[Action, int]:
        found = read_version(store, action_id)
        if found[0].state_payload == 1:
            transitions.record(store, seq, 2, measured=True)
        return found

    monkeypatch.setattr(actions, "by_id", measured_meanwhile)
    action, version, history = _read(store, action_id)
    newest = next(history)
    assert (newest.version, newest.state_payload) == (version, action.state_payload) == (version, 2)
