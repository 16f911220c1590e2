"""Scripted members of replica sets that speak MongoDB's protocol, for what no test server can do.

They prove the agent's requests and its reading of the answers, not the answers of a mongod. Each has its own oplog;
elections, step-downs, configurations and initial syncs follow the rules of MongoDB's manual as far as they are used.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bson import ObjectId, Timestamp
from mockupdb import MockupDB

from agent.supervisors.base import Status, Supervisor
from agent.util.stop import Stop
from tests.servers.process import free_port

Answer = dict[str, Any]
Entry = tuple[int, int, int]
"""Seconds, number, term."""
BEGAN = 1_700_000_000


class Refusal(Exception):
    """The answer is an error of this code."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code, self.words = code, words


class NoAnswer(Exception):
    """The connection ends before the answer."""


class Group:
    """A replica set: its configuration and the shared state of its members."""

    def __init__(self, name: str = "rs") -> None:
        self.name = name
        self.id = ObjectId()
        self.version = 7
        self.term = 1
        self.members: list[Member] = []
        self.options: dict[str, Answer] = {}
        self.busy = 0
        """The number of configuration changes to refuse first."""
        self.catches_up = True
        self.write_concern: Any = "majority"

    def add(self, state: str, **options: Any) -> Member:
        """A member that is configured and runs, with ten writes that all have."""
        member = Member(self, state)
        self.options[member.address] = {"_id": len(self.options), "host": member.address, "priority": 1, "votes": 1}
        self.options[member.address] |= options
        return member.start()

    @property
    def primary(self) -> Member | None:
        return next((each for each in self.members if each.state == "PRIMARY" and each.server), None)

    @property
    def config(self) -> Answer:
        members = list(self.options.values())
        return {"_id": self.name, "version": self.version, "members": members, "settings": {"replicaSetId": self.id}}

    def votes(self, *, up: bool = False) -> int:
        """The votes of all configured members, or of the running ones."""
        running = {each.address for each in self.members if each.server}
        return sum(int(each["votes"]) for each in self.options.values() if not up or each["host"] in running)

    @property
    def majority(self) -> int:
        return self.votes() // 2 + 1


class Member:
    """One member, `state` as in replSetGetStatus; `received` has the commands sent to it."""

    def __init__(self, group: Group, state: str) -> None:
        self.group = group
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.state = state
        self.oplog: list[Entry] = [(BEGAN + number, 1, 1) for number in range(10)]
        self.committed: Entry | None = None
        """None: all that it has."""
        self.receives = True
        self.elected = True
        self.frozen = False
        self.users_while_it_copies = True
        self.held: str | None = None
        """The reason why its writes are not acknowledged."""
        self.own_collections: list[str] = []
        self.received: list[str] = []
        self.directory: Path | None = None
        self.total_size = 200
        self.version = "7.0.5"
        self.last_config: Answer | None = None
        self.server: Any = None
        group.members.append(self)

    def start(self) -> Member:
        self.server = MockupDB(port=self.port)
        self.server.autoresponds(self._answer)
        self.server.run()
        return self

    def stop(self) -> None:
        server, self.server = self.server, None
        if server is not None:
            server._stopped = True
            socket.create_connection(("127.0.0.1", self.port)).close()  # it looks once a second, or at a connection
            server._accept_thread.join(10)  # which must not meet a closed socket
            server.stop()

    def write(self, count: int = 1) -> None:
        """Writes that no other member has."""
        for _ in range(count):
            self.oplog.append((self.oplog[-1][0] + 1, 1, self.group.term))

    def follow(self) -> None:
        """Have what the primary has."""
        if self.group.primary is not None:
            self.oplog = list(self.group.primary.oplog)

    @property
    def options(self) -> Answer:
        return self.group.options.get(self.address, {})

    @property
    def source(self) -> str:
        primary = self.group.primary
        follows = self.receives and self.state in ("SECONDARY", "STARTUP2", "RECOVERING", "ROLLBACK")
        return primary.address if follows and primary is not None else ""

    def _answer(self, request: Any) -> bool:
        name = next(iter(request.doc))
        if name.lower() == "ismaster":
            name = "hello"
        if name != "hello":
            self.received.append(name)
        if name == "shutdown" and self._may_shut_down():
            request.hangup()
            threading.Thread(target=self.stop).start()
            return True
        try:
            if self.state == "STARTUP2" and not self.users_while_it_copies and name != "hello":
                raise Refusal(18, "Authentication failed.")
            answer = getattr(self, f"_{name}", self._unknown)(request.doc)
        except Refusal as refusal:
            request.command_err(code=refusal.code, errmsg=refusal.words)
        except NoAnswer:
            request.hangup()
        else:
            request.replies({**answer, "ok": 1})
        return True

    def _unknown(self, doc: Answer) -> Answer:
        raise Refusal(59, f"no such command: {next(iter(doc))}")

    # What it is

    def _hello(self, doc: Answer) -> Answer:
        leads = self.state == "PRIMARY"
        base: Answer = {"isWritablePrimary": leads, "ismaster": leads, "secondary": self.state == "SECONDARY"}
        base |= {"maxWireVersion": 21}
        if self.state in ("REMOVED", "EMPTY"):
            return {**base, "isreplicaset": True}
        if self.state == "ALONE":
            return base
        primary = {"primary": self.group.primary.address} if self.group.primary else {}
        hosts = [each["host"] for each in self.group.options.values()]
        return {**base, **primary, "setName": self.group.name, "me": self.address, "hosts": hosts}

    def _ping(self, doc: Answer) -> Answer:
        return {}

    def _buildInfo(self, doc: Answer) -> Answer:
        return {"version": self.version}

    def _getParameter(self, doc: Answer) -> Answer:
        return {"featureCompatibilityVersion": {"version": "7.0"}}

    def _getCmdLineOpts(self, doc: Answer) -> Answer:
        return {"parsed": {"storage": {"dbPath": str(self.directory)} if self.directory else {}}}

    def _getDefaultRWConcern(self, doc: Answer) -> Answer:
        return {"defaultWriteConcern": {"w": self.group.write_concern}}

    def _listDatabases(self, doc: Answer) -> Answer:
        return {"databases": [], "totalSize": self.total_size}

    def _listCollections(self, doc: Answer) -> Answer:
        names = ["oplog.rs", "startup_log", "system.replset", "replset.election", *self.own_collections]
        return _cursor("local.$cmd.listCollections", [{"name": name} for name in names])

    def _find(self, doc: Answer) -> Answer:
        wanted = doc["filter"].get("ts", {})
        found = [entry for entry in self.oplog if _matches(Timestamp(*entry[:2]), wanted)]
        if doc["sort"]["$natural"] < 0:
            found.reverse()
        documents = [{"ts": Timestamp(*entry[:2]), "t": entry[2]} for entry in found[: doc["limit"]]]
        return _cursor("local.oplog.rs", documents)

    def _replSetGetStatus(self, doc: Answer) -> Answer:
        if self.state == "REMOVED":
            raise Refusal(93, "Our replica set config is invalid or we are not a member of it")
        committed = self.committed or self.oplog[-1]
        optimes = {"appliedOpTime": _optime(self.oplog[-1]), "lastCommittedOpTime": _optime(committed)}
        members = [each.described(self) for each in self.group.members if each.options]
        return {
            "set": self.group.name,
            "date": datetime.fromtimestamp(BEGAN + 100, UTC),
            "term": self.group.term,
            "syncSourceHost": self.source,
            "optimes": optimes,
            "members": members,
            "initialSyncStatus": {"approxTotalDataSize": 200, "approxTotalBytesCopied": 90},
        }

    def described(self, to: Member) -> Answer:
        """The member as another one sees it; the optime of an unreachable member is unknown."""
        up = self.server is not None
        found: Answer = {
            "name": self.address,
            "stateStr": self.state if up else "(not reachable/healthy)",
            "health": int(up),
        }
        found["optime"] = _optime(self.oplog[-1] if up else (0, 0, -1))
        if self is to:
            return found | {"self": True, "infoMessage": "" if self.source else "could not find member to sync from"}
        return found | {"lastHeartbeatRecv": datetime.fromtimestamp(BEGAN + 99, UTC)}

    def _replSetGetConfig(self, doc: Answer) -> Answer:
        if self.state in ("EMPTY", "ALONE"):
            raise Refusal(94, "no replset config has been received")
        return {"config": self.last_config if self.state == "REMOVED" else self.group.config}

    # What it does

    def _replSetReconfig(self, doc: Answer) -> Answer:
        config = doc["replSetReconfig"]
        if self.state != "PRIMARY":
            raise Refusal(10107, "New config may only be applied on the primary")
        if self.group.busy:
            self.group.busy -= 1
            self.group.version += 1
        if config["version"] <= self.group.version:
            raise Refusal(103, "the version must be greater than that of the present configuration")
        self.group.version = config["version"]
        self.group.options = {each["host"]: dict(each) for each in config["members"]}
        for each in self.group.members:
            if not each.options and each.state not in ("EMPTY", "ALONE"):
                each.state, each.last_config = "REMOVED", self.group.config
            elif each.options and each.state in ("REMOVED", "EMPTY"):
                each.join()
        return {}

    def join(self) -> None:
        """The reaction of a member to its addition to the set: it catches up, or copies."""
        empty = self.directory is not None and not (self.directory / "WiredTiger").exists()
        self.state = "STARTUP2" if empty else "SECONDARY"
        if not empty:
            self.follow()

    def _replSetStepUp(self, doc: Answer) -> Answer:
        if not self.elected or self.frozen or self.state != "SECONDARY" or self.options["priority"] == 0:
            raise Refusal(125, "Election failed.")
        if self.group.votes(up=True) < self.group.majority:
            raise Refusal(125, "Election failed.")
        for each in self.group.members:
            if each.state == "PRIMARY":
                if each.server and self.receives:
                    self.oplog = list(each.oplog)  # a new primary catches up before it accepts writes
                each.state = "SECONDARY"
        self.state = "PRIMARY"
        self.group.term += 1
        self.write()
        return {}

    def _replSetStepDown(self, doc: Answer) -> Answer:
        electable = [
            each
            for each in self.group.members
            if each.server and each.state == "SECONDARY" and each.options["priority"] and each is not self
        ]
        if not self.group.catches_up or not electable:
            raise Refusal(50, "No electable secondaries caught up")
        for each in electable:
            each.oplog = list(self.oplog)
        self.state = "SECONDARY"
        return {}

    def _replSetFreeze(self, doc: Answer) -> Answer:
        self.frozen = doc["replSetFreeze"] > 0
        return {}

    def _appendOplogNote(self, doc: Answer) -> Answer:
        self.write()
        return {} if self.held is None else {"writeConcernError": {"code": 64, "errmsg": self.held}}

    def _shutdown(self, doc: Answer) -> Answer:
        raise Refusal(125, "No electable secondaries caught up")

    def _may_shut_down(self) -> bool:
        others = [each for each in self.group.members if each is not self and each.state == "SECONDARY" and each.server]
        return self.state != "PRIMARY" or bool(others)


class Service(Supervisor):
    """The service of one member: with an empty data directory it starts as one that copies the data."""

    subject = "scripted mongod"

    def __init__(self, member: Member, directory: Path, *, comes_up: bool = True, copies: str = "well") -> None:
        self.member = member
        self.directory = directory
        self.comes_up = comes_up
        self.copies = copies
        """`well`, `ends` (mongod ends in the middle) or `stalls`."""
        self.state = member.state
        self.after_start: Callable[[bool], object] = lambda empty: None
        """Called after a start, with whether the data directory is empty."""

    def status(self, stop: Stop, action: str | None = None) -> Status:
        running = self.member.server is not None
        if running and self.member.state == "STARTUP2":
            self._copy()
        return Status(running, not running, None, "")

    def start(self, stop: Stop, action: str | None = None) -> None:
        if (self.directory / "WiredTiger").exists():
            self.member.state = self.state if self.member.state == "STARTUP2" else self.member.state
            self.comes_up and self.member.start()
            self.after_start(False)
            return
        self.member.state = "STARTUP2" if self.member.options else "EMPTY"
        self.member.oplog = [(BEGAN, 1, 1)]
        self.member.start()
        self.after_start(True)

    def stop(self, stop: Stop, action: str | None = None) -> None:
        self.member.stop()

    def _copy(self) -> None:
        if self.copies == "ends":
            self.member.stop()
        elif self.copies == "well":
            (self.directory / "WiredTiger").write_text("copied")
            self.member.state = "SECONDARY"
            self.member.follow()


def _optime(entry: Entry) -> Answer:
    return {"ts": Timestamp(*entry[:2]), "t": entry[2]}


def _cursor(namespace: str, documents: list[Answer]) -> Answer:
    return {"cursor": {"id": 0, "ns": namespace, "firstBatch": documents}}


def _matches(ts: Timestamp, wanted: Any) -> bool:
    if isinstance(wanted, Timestamp):
        return ts == wanted
    compare = {"$gte": ts.__ge__, "$lte": ts.__le__, "$gt": ts.__gt__, "$lt": ts.__lt__}
    return all(compare[name](value) for name, value in wanted.items())
