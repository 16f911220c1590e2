"""Controllers of the node protocol: the requests of a cycle, the state that they keep, and their failures."""

from __future__ import annotations

import json
import uuid
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.agent_process import Response
from tests.clients import node_models
from tests.clients.lives import Node
from tests.clients.strict import Decoder

UNSTABLE = "/api/unstable"


class CycleEnded(Exception):
    """The first error ends the cycle of a node."""


class Controller:
    """Schedules one action a cycle and follows all. Its state is a file: another object on it is a restart."""

    generation = "seed"

    def __init__(self, node: Node, file: Path) -> None:
        self.node, self.file = node, file
        self.state: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"pending": [], "known": {}}
        self.info = node_models.info(self.generation)

    def save(self) -> None:
        self.file.write_text(json.dumps(self.state))

    def cycle(self) -> None:
        """Raises `CycleEnded`."""
        self.read("/info/agent", node_models.AGENT_INFO)
        self.read("/info/datastore", node_models.DATASTORE_INFO)
        self.read("/shards", node_models.SHARDS)
        listed = [each for name in ("queue", "finished") for each in self.read(f"/actions/{name}", node_models.ITEMS)]
        for action_id in dict.fromkeys(str(each["id"]) for each in listed):
            if self.state["known"].get(action_id) not in ("DONE", "FAILED"):
                self.follow(action_id)
        self.schedule_pending()

    def follow(self, action_id: str) -> None:
        found = self.read(f"/actions/info/{action_id}", self.info)["action"]
        assert str(found["id"]) == action_id
        self.state["known"][action_id] = found["state"]
        self.save()

    def want(self, kind: str, args: Any) -> str:
        """Record an action to schedule; returns the controller's own name for it."""
        name = str(uuid.uuid4())
        self.state["pending"].append({"name": name, "kind": kind, "args": args})
        self.save()
        return name

    def schedule_pending(self) -> None:
        while self.state["pending"]:
            self.schedule(self.state["pending"][0])
            del self.state["pending"][0]
            self.save()

    def schedule(self, wanted: Any) -> None:
        """Schedule an action with a key, so that the call can be repeated. The agent chooses the id."""
        answer = self.call("POST", wanted["kind"], wanted["args"], {"Idempotency-Key": wanted["name"]})
        if answer.status != 200:
            raise CycleEnded(str(node_models.ERROR(answer.json)))
        self.state.setdefault("ids", {})[wanted["name"]] = str(node_models.SCHEDULED(answer.json)["id"])

    def id_of(self, name: str) -> str:
        """The id of the action recorded by `want`."""
        return str(self.state["ids"][name])

    def call(self, method: str, kind: str, body: Any, headers: dict[str, str] | None = None) -> Response:
        try:
            path = f"{UNSTABLE}/actions/schedule/{quote(kind)}"
            return self.node.request(method, path, json=body, headers=headers or {})
        except (OSError, HTTPException) as error:
            raise CycleEnded(str(error)) from error

    def read(self, path: str, decoder: Decoder) -> Any:
        try:
            answer = self.node.get(UNSTABLE + path)
        except (OSError, HTTPException) as error:
            raise CycleEnded(str(error)) from error
        if answer.status != 200:
            raise CycleEnded(str(node_models.ERROR(answer.json)))
        return decoder(answer.json)


class Controller05(Controller):
    """Generation 0.5 chooses the ids of its actions, and treats a conflict as a lost answer."""

    generation = "0.5"

    def schedule(self, wanted: Any) -> None:
        body = {
            "action_id": wanted["name"],
            "args": wanted["args"],
            "created_ts": "2026-01-31T03:00:00.123456789Z",
            "requester": "CORE_PLAYBOOK",
        }
        answer = self.call("POST", wanted["kind"], body)
        if answer.status == 409 and node_models.ERROR(answer.json)["variant"] == "ActionAlreadyExists":
            return
        if answer.status != 200:
            raise CycleEnded(str(node_models.ERROR(answer.json)))
        assert str(node_models.SCHEDULED(answer.json)["id"]) == wanted["name"]

    def id_of(self, name: str) -> str:
        return name
