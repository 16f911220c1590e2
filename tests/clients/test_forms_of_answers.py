"""Entity tags and `Vary`: an answer in one form never validates a cached answer in another form."""

from __future__ import annotations

from pathlib import Path

from tests.agent_process import PREFIX
from tests.clients import lives
from tests.clients.lives import PING, Node

OTHER_FORMS = 'node_protocol = "0.5"\nasync_actions = "typed"'
SEED_WORDS = {"Node-Protocol": "seed"}


def test_etag_of_one_form_is_not_valid_for_another(tmp_path: Path) -> None:
    with lives.node(tmp_path, "") as node:
        action_id = lives.by_api(node, PING, {"count": 1})
        number = node.await_final(action_id, timeout=60)["action"]["async_action_id"]
        protocol = [f"{PREFIX}/{each}" for each in (f"info/{action_id}", "list", "queue", "finished")]
        stacks = [f"/api/3/stacks/blue/actions{each}" for each in ("", f"/{number}")]
        of_seed = {path: tag_of(node, path) for path in (*protocol, *stacks)}
        assert not any("Node-Protocol" in str(node.get(path).headers["Vary"]) for path in of_seed)
    (tmp_path / "agent.toml").unlink(missing_ok=True)
    with lives.node(tmp_path, OTHER_FORMS) as node:
        for path, earlier in of_seed.items():
            assert tag_of(node, path).startswith('"0.5-' if path in protocol else '"typed-')
            assert has(node, path, tag_of(node, path))
            assert not has(node, path, earlier)
            assert not has(node, path, earlier, Prefer="wait=30")
            assert ("Node-Protocol" in str(node.get(path).headers["Vary"])) == (path in protocol)
        for path in protocol:
            asked_as_seed = tag_of(node, path, **SEED_WORDS)
            assert has(node, path, asked_as_seed, **SEED_WORDS)
            assert not has(node, path, asked_as_seed)
            assert not has(node, path, tag_of(node, path), **SEED_WORDS)


def tag_of(node: Node, path: str, **headers: str) -> str:
    return str(node.get(path, headers=dict(headers)).headers["ETag"])


def has(node: Node, path: str, tag: str, **headers: str) -> bool:
    """Whether the agent answers 304 to this tag."""
    return node.get(path, headers={"If-None-Match": tag, **headers}).status == 304
