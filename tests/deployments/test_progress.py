"""The payload of a deploy: the current form, and the form of older agents."""

from __future__ import annotations

import json

from agent.config import Application
from agent.deployments.progress import DeployProgress, beginning
from tests.kinds.configuring import settings

SHOP = {"path": "/srv/shop", "repository": "/srv/shop.git", "services": ["web.service"], "before": [["make"]]}


def shop() -> Application:
    return settings({"applications": {"shop": SHOP}}).applications["shop"]


def test_payload_is_read_back_unchanged() -> None:
    begun = beginning("shop", shop(), "main", "rolling")
    progress = begun.then("checkout", git_hash="a" * 40, release="releases/1", units={"web.service": None})
    assert DeployProgress.of(json.loads(json.dumps(progress.payload()))).payload() == json.loads(
        json.dumps(progress.payload())
    )
    assert (progress.phase, progress.phases, begun.phases) == ("checkout", ["fetch"], [])


def test_payload_lacks_the_members_of_later_phases() -> None:
    payload = beginning("shop", shop(), "main", "rolling").payload()
    assert payload["release"] is None and payload["previous_git_hash"] is None
    assert not {"units", "left", "restarted", "back", "overtaken_by", "error", "failed_in"} & set(payload)


def test_payload_of_an_older_agent_is_read_without_newer_members() -> None:
    progress = DeployProgress.of(
        {"application": "shop", "phase": "before", "command": 1, "git_ref": "main", "newer": 1}
    )
    assert (progress.path, progress.plan, progress.killed, progress.of_ref) == (None, {}, 0, None)
    assert "path" not in progress.payload() and "newer" not in progress.payload()
