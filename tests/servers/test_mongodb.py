"""The MongoDB stand-in of the tests keeps data and users after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
from pymongo.errors import OperationFailure, PyMongoError

from tests.servers.mongodb import MongoServer
from tests.servers.process import run


def test_data_and_users_survive_kill_and_start(mongo_server: MongoServer) -> None:
    mongo_server.command("insert", "kept", db="app", documents=[{"x": 42}])
    mongo_server.command("createUser", "u", db="app", pwd="right", roles=["readWrite"])
    before = mongo_server.pid
    mongo_server.kill()
    mongo_server.start()
    assert run(mongo_server.pid_command).strip() == str(mongo_server.pid) != str(before)
    found = mongo_server.command("find", "kept", db="app")["cursor"]["firstBatch"]
    assert [document["x"] for document in found] == [42]
    assert len(mongo_server.command("usersInfo", "u", db="app")["users"]) == 1
    mongo_server.command("dropUser", "u", db="app")
    with pytest.raises(OperationFailure, match="u@app"):
        mongo_server.command("dropUser", "u", db="app")


def test_login_needs_the_password(server_dir: Path) -> None:
    with MongoServer(server_dir / "m", password="correct-horse") as server:
        server.command("insert", "t", db="app", documents=[{"x": 1}])
        server.password = "wrong"
        with pytest.raises(PyMongoError, match=r"[Aa]uthentication failed"):
            server.command("find", "t", db="app")
