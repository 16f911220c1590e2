"""A controller of each generation over a hundred cycles with restarts of both sides: each action runs once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.clients import lives
from tests.clients.controllers import Controller, Controller05, CycleEnded
from tests.servers.redis import RedisServer

CYCLES = 100


@pytest.mark.parametrize(
    ("made", "kind"), [(Controller, "external.note"), (Controller05, "external.agent.replicante.io/note")]
)
def test_each_action_of_a_controller_runs_once_under_its_id(
    made: type[Controller], kind: str, tmp_path: Path, redis_server: RedisServer
) -> None:
    datastore = f'[datastore]\nkind = "redis"\nurl = "unix://{redis_server.socket}"\n'
    with lives.node(tmp_path, f'node_protocol = "{made.generation}"', datastore) as node:
        file = tmp_path / "controller.json"
        names = []
        for number in range(CYCLES):
            controller = made(node, file)  # a restart of the controller, in each cycle
            names.append(controller.want(kind, {"number": number}))
            controller.cycle()
            if number % 20 == 3:
                node.stop()
                node.start()
            if number % 10 == 5:
                forget_the_answer(made(node, file), names[-1], kind, number)
            if number % 20 == 13:
                # The cycle in between ends with its first error.
                node.stop()
                missed = made(node, file)
                names.append(missed.want(kind, {"number": "missed"}))
                with pytest.raises(CycleEnded):
                    missed.cycle()
                node.start()
        controller = made(node, file)
        controller.cycle()
        ids = {controller.id_of(name) for name in names}
        for action_id in ids:
            node.await_final(action_id, timeout=60)
        controller.cycle()
        assert len(ids) == len(names) and set(controller.state["known"]) == ids
        assert set(controller.state["known"].values()) == {"DONE"}
        assert Counter(node.ran()) == dict.fromkeys(ids, 1)


def forget_the_answer(controller: Controller, name: str, kind: str, number: int) -> None:
    """The controller ended after its call and before it stored the answer: it calls again."""
    controller.schedule({"name": name, "kind": kind, "args": {"number": number}})
