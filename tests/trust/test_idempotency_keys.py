"""Idempotency keys of different callers are independent and reveal nothing about each other."""

from __future__ import annotations

from pathlib import Path

from tests.agent_process import AgentProcess
from tests.conformance.shapes import PING, SUCCESS
from tests.trust.guarded import PINGER_TOKEN, StartGuarded, bearer


def test_key_guessed_by_another_caller_is_a_separate_key(start_guarded: StartGuarded) -> None:
    guarded = start_guarded()
    guarded.occupy()
    key: dict[str, str | None] = {"Idempotency-Key": "deploy-42"}
    mine = guarded.post_schedule(PING, {"count": 1}, headers=key)
    for count in (1, 2):
        guessed = {"Idempotency-Key": f"deploy-4{1 + count}"} | bearer(PINGER_TOKEN)
        theirs = guarded.post_schedule(PING, {"count": count}, headers=guessed)
        assert theirs.status == 200 and "Idempotent-Replayed" not in theirs.headers
        assert theirs.json != mine.json, "another caller's id is shown to no one"
    assert guarded.post_schedule(PING, {"count": 1}, headers=key).json == mine.json
    assert guarded.post_schedule(SUCCESS, {}, headers=key).status == 409


def test_idempotency_key_cannot_be_used_to_guess_a_password(start_guarded: StartGuarded, tmp_path: Path) -> None:
    """A wrong password is refused equally for a waiting and a final action, and only for its own caller."""
    (tmp_path / "secretive.py").write_text(SECRETIVE)
    config = '[agent]\nkinds = ["secretive"]\n'
    guarded = start_guarded(config, env={"PYTHONPATH": f"{Path(__file__).parents[2]}:{tmp_path}"})
    running = guarded.occupy()
    key: dict[str, str | None] = {"Idempotency-Key": "user-7"}
    first = guarded.schedule("secretive.use", {"password": "correct horse"}, headers=key)
    assert_only_the_same_is_answered(guarded, key, first)
    guarded.cancel(running)
    guarded.await_final(first)
    assert_only_the_same_is_answered(guarded, key, first)


def assert_only_the_same_is_answered(guarded: AgentProcess, key: dict[str, str | None], first: str) -> None:
    wrong = guarded.post_schedule("secretive.use", {"password": "battery staple"}, headers=key)
    assert (wrong.status, wrong.json["variant"]) == (409, "IdempotencyKeyReused")
    assert guarded.schedule("secretive.use", {"password": "correct horse"}, headers=key) == first


SECRETIVE = """
from marshmallow import fields
from agent.kinds.base import Args, Done, Kind

class UseArgs(Args):
    password = fields.String(required=True, metadata={"secret": True})

class Use(Kind):
    '''Use a password.'''
    name = "secretive.use"
    args = UseArgs
    def step(self, step):
        return Done({}, "used")
"""
