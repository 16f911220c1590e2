"""Callbacks verified by the library `standardwebhooks`, for every event that can be configured."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from agent import config as configuration
from agent.auth import standard_webhooks
from agent.errors import ConfigError
from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.callbacks.receivers import Received, Receiver, config
from tests.cli.calling import call

OLD, NEW = "whsec_" + base64.b64encode(b"the key that was used before").decode(), "a secret that is plain text"
OF_TEXT = "whsec_" + base64.b64encode(NEW.encode()).decode()
"""The secret of plain text, for the library."""


def verified(received: Received, secret: str) -> bool:
    try:
        return bool(Webhook(secret).verify(received.body, received.headers) == received.action)
    except WebhookVerificationError:
        return False


def known(agent: AgentProcess) -> bool:
    """Whether the receiver is stored and so gets later events."""
    with closing(sqlite3.connect(agent.db)) as connection:
        return bool(connection.execute("SELECT 1 FROM receivers").fetchall())


def test_every_event_is_signed_with_both_secrets_and_has_a_unique_id(
    start_agent: StartAgent, receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "old").write_text(f"{OLD}\n")
    (tmp_path / "new").write_text(f"{NEW}\n")
    secrets = {"secret": str(tmp_path / "new"), "previous_secret": str(tmp_path / "old")}
    agent = start_agent(config=config([receiver.url()], events=["action.*"], **secrets))
    eventually(lambda: known(agent), "the executor knows the receiver", 60)
    done = agent.schedule("replicante.test.success", {})
    agent.await_final(done)
    held = agent.schedule("replicante.test.success", {}, headers={"Not-Before": "2999-01-01T00:00:00Z"})
    receiver.await_taken(5, timeout=60)
    agent.cancel(held)
    received = receiver.await_taken(7, timeout=60)
    assert [(each.headers["x-agent-delivery"], each.headers["x-agent-event"]) for each in received] == [
        (done, "action.scheduled"), (done, "action.started"), (done, "action.final"),
        (held, "action.scheduled"), (held, "action.held"), (held, "action.cancel_requested"), (held, "action.final"),
    ]  # fmt: skip
    ids = [each.headers["webhook-id"] for each in received]
    assert len(set(ids)) == len(ids)
    for each, message_id in zip(received, ids, strict=True):
        assert message_id.startswith(f"{each.headers['x-agent-delivery']}_{each.headers['x-agent-event'][7:]}_")
        assert verified(each, OLD) and verified(each, OF_TEXT)
        assert not verified(each, "whsec_" + base64.b64encode(b"another key").decode())
        assert each.is_signed_with(NEW)
        assert (each.action["finished_at"] is None) == (each.headers["x-agent-event"] != "action.final")
    assert received[4].action["metadata"]["held"] == "not before 2999-01-01T00:00:00Z"
    assert "held" not in received[3].action["metadata"]


def test_signature_equals_that_of_the_library_and_covers_id_time_and_body() -> None:
    headers = standard_webhooks.headers([OLD], "id", 1_700_000_000, b"{}")
    at = datetime.fromtimestamp(1_700_000_000, UTC)
    assert headers["webhook-signature"] == Webhook(OLD).sign("id", at, "{}")
    others = [("ie", 1_700_000_000, b"{}"), ("id", 1_700_000_001, b"{}"), ("id", 1_700_000_000, b"[]")]
    for other in others:
        assert headers["webhook-signature"] != standard_webhooks.headers([OLD], *other)["webhook-signature"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"events": ["action.ended"]}, r"callbacks\.events\.0: expected one of action\.scheduled, .*, \* allowed"),
        ({"previous_secret": "/x"}, r"callbacks\.secret: expected a value, as previous_secret is set"),
    ],
)
def test_invalid_options_of_callbacks_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configuration.parse({"callbacks": {"urls": ["http://127.0.0.1/"], **options}})


def test_a_secret_of_wrong_base64_is_refused_at_the_start(tmp_path: Path) -> None:
    file, secret = tmp_path / "agent.toml", tmp_path / "secret"
    secret.write_text("whsec_this is no base64")
    file.write_text(config(["http://127.0.0.1:1/"], secret=str(secret)))
    ended = call(None, "config", "check", str(file))
    expected = "callbacks.secret: a secret that begins with whsec_ continues with base64\n"
    assert (ended.status, ended.stderr) == (1, expected)
