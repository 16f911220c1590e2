"""Members of a replica set that speak MongoDB's protocol and act by a script, for what no test server does.

They prove what the agent asks and how it takes the answers, not that a mongod answers so.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from mockupdb import MockupDB

from agent.stop import Stop
from agent.supervisors.base import Status, Supervisor
from tests.servers.process import free_port

Answer = dict[str, Any]


class Member:
    """One member, `state` as replSetGetStatus names it; what it was asked for is in `asked`."""

    def __init__(self, members: list[Member], state: str) -> None:
        self.members = members
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.state = state
        self.elected = True
        self.asked: list[str] = []
        self.directory: Path | None = None
        self.server: Any = None
        members.append(self)

    def start(self) -> Member:
        self.server = MockupDB(port=self.port)
        self.server.autoresponds(self._answer)
        self.server.run()
        return self

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
        self.server = None

    @property
    def primary(self) -> Member | None:
        return next((each for each in self.members if each.state == "PRIMARY" and each.server), None)

    def _answer(self, request: Any) -> bool:
        name = next(iter(request.doc))
        if name.lower() == "ismaster":
            name = "hello"
        if name != "hello":
            self.asked.append(name)
        if name == "shutdown" and self._may_shut_down():
            request.hangup()
            threading.Thread(target=self.stop).start()
        elif isinstance(answer := getattr(self, f"_{name}", self._unknown)(request.doc), str):
            request.command_err(code=125, errmsg=answer)
        else:
            request.replies(answer)
        return True

    def _unknown(self, doc: Answer) -> str:
        return f"no such command: {next(iter(doc))}"

    def _hello(self, doc: Answer) -> Answer:
        base = {
            "isWritablePrimary": self.state == "PRIMARY",
            "secondary": self.state == "SECONDARY",
            "maxWireVersion": 21,
        }
        base["ismaster"] = base["isWritablePrimary"]
        if self.state in ("REMOVED", "EMPTY"):
            return {**base, "isreplicaset": True, "ok": 1}
        primary = {"primary": self.primary.address} if self.primary else {}
        hosts = [each.address for each in self.members]
        return {**base, **primary, "setName": "rs", "me": self.address, "hosts": hosts, "ok": 1}

    def _ping(self, doc: Answer) -> Answer:
        return {"ok": 1}

    def _replSetStepUp(self, doc: Answer) -> Answer | str:
        if not self.elected:
            return "Election failed."
        for each in self.members:
            if each.state == "PRIMARY":
                each.state = "SECONDARY"
        self.state = "PRIMARY"
        return {"ok": 1}

    def _replSetGetStatus(self, doc: Answer) -> Answer:
        source = self.primary.address if self.primary and self.primary is not self else ""
        members = [
            {"name": each.address, "stateStr": each.state, "health": int(each.server is not None)}
            | ({"self": True} if each is self else {})
            for each in self.members
        ]
        progress = {"approxTotalDataSize": 200, "approxTotalBytesCopied": 90}
        return {"syncSourceHost": source, "members": members, "initialSyncStatus": progress, "ok": 1}

    def _replSetGetConfig(self, doc: Answer) -> Answer:
        members = [{"_id": number, "host": each.address} for number, each in enumerate(self.members)]
        return {"config": {"_id": "rs", "version": 7, "members": members}, "ok": 1}

    def _replSetReconfig(self, doc: Answer) -> Answer | str:
        config = doc["replSetReconfig"]
        if self.state != "PRIMARY" or config["version"] != 8:
            return "not accepted"
        kept = [each["host"] for each in config["members"]]
        for each in self.members:
            if each.address not in kept:
                each.state = "REMOVED"
        return {"ok": 1}

    def _shutdown(self, doc: Answer) -> str:
        return "No electable secondaries caught up"

    def _may_shut_down(self) -> bool:
        others = [each for each in self.members if each is not self and each.state == "SECONDARY" and each.server]
        return self.state != "PRIMARY" or bool(others)

    def _getCmdLineOpts(self, doc: Answer) -> Answer:
        return {"parsed": {"storage": {"dbPath": str(self.directory)} if self.directory else {}}, "ok": 1}


class Service(Supervisor):
    """The service of one member: with an empty data directory it starts as one that copies the data."""

    subject = "scripted mongod"

    def __init__(self, member: Member, directory: Path, *, comes_up: bool = True, ends_copying: bool = False) -> None:
        self.member = member
        self.directory = directory
        self.comes_up = comes_up
        self.ends_copying = ends_copying

    def status(self, stop: Stop, action: str | None = None) -> Status:
        running = self.member.server is not None
        if running and self.member.state == "STARTUP2":
            self._copy()
        return Status(running, not running, None, "")

    def start(self, stop: Stop, action: str | None = None) -> None:
        if (self.directory / "WiredTiger").exists():
            self.comes_up and self.member.start()
            return
        self.member.state = "STARTUP2"
        self.member.start()

    def stop(self, stop: Stop, action: str | None = None) -> None:
        self.member.stop()

    def _copy(self) -> None:
        if self.ends_copying:
            self.member.stop()
            return
        (self.directory / "WiredTiger").write_text("copied")
        self.member.state = "SECONDARY"
