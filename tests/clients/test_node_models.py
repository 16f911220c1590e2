"""The typed models of each generation read every answer of the node protocol, over complete lives of actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.agent_process import PREFIX
from tests.clients import lives, node_models
from tests.conformance.shapes import assert_json

KINDS = {
    "seed": {"replicante.test.ping", "replicante.test.loop", "replicante.test.fail", "external.note", "deploy"},
    "0.5": {
        "agent.replicante.io/test.ping",
        "agent.replicante.io/test.loop",
        "agent.replicante.io/test.fail",
        "external.agent.replicante.io/note",
        "deploy",
    },
}


@pytest.mark.parametrize("generation", ["seed", "0.5"])
def test_typed_models_read_full_lives_by_every_channel(generation: str, tmp_path: Path) -> None:
    with lives.node(tmp_path, f'node_protocol = "{generation}"') as node:

        def read(path: str) -> Any:
            answer = node.get(path)
            assert_json(answer)
            return answer.json

        info = node_models.info(generation)
        requesters = node_models.REQUESTERS[generation]
        node_models.AGENT_INFO(read("/api/unstable/info/agent"))
        node_models.OFFERED(read(f"{PREFIX}/"))
        for channels in lives.live(node):
            listed = node_models.ITEMS(read(f"{PREFIX}/queue")) + node_models.ITEMS(read(f"{PREFIX}/finished"))
            assert {str(each["id"]) for each in listed} == set(channels)
            for action_id, channel in channels.items():
                found = info(read(f"{PREFIX}/info/{action_id}"))
                assert found["action"]["requester"] == requesters[channel]
                assert found["action"]["kind"] in KINDS[generation]
            assert {each["kind"] for each in listed} == KINDS[generation]
            items = read(f"{PREFIX}/list")["items"]
            assert {each["id"]: each["requester"] for each in items} == {
                action_id: requesters[channel] for action_id, channel in channels.items()
            }
        assert sorted(node.ran()) == sorted(each["id"] for each in items if each["kind"].endswith("note"))
        node_models.ERROR(node.get(f"{PREFIX}/info/none").json)
        assert KINDS[generation] <= {each["kind"] for each in read(f"{PREFIX}/available")}
