"""An address in use, or not of this host, ends the start with the name of the option."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from agent.config import Api
from agent.errors import AddressTaken, ConfigError
from agent.server import addresses_in_use
from tests.agent_process import AgentProcess

pytestmark = pytest.mark.usefixtures("cold_agents")


def test_address_in_use_ends_the_start_with_the_option(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path)
    with socket.create_server(("127.0.0.1", agent.port)), pytest.raises(AssertionError, match="left with exit code 1:"):
        agent.start()
    lines = [line for line in agent.log_text().splitlines() if line.startswith("agent: ")]
    assert lines == [
        f"agent: api.bind: another process listens on 127.0.0.1:{agent.port} (ss -ltnp shows which): "
        "stop it, or set another address"
    ]
    assert "Connection in use" not in agent.log_text()


def test_an_address_that_is_freed_during_the_check_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bind = f"127.0.0.1:{listener.getsockname()[1]}"
        listen_error = addresses_in_use._listen_error
        found: list[OSError | None] = []

        def look(host: str, port: int) -> OSError | None:
            found.append(listen_error(host, port))
            listener.close()
            return found[-1]

        monkeypatch.setattr(addresses_in_use, "_listen_error", look)
        addresses_in_use.refuse_taken(Api(bind=(bind,)))
    assert found[0] is not None and found[-1] is None, "it was taken at first, and free then"


def test_address_of_another_host_ends_the_start_at_once() -> None:
    with pytest.raises(
        ConfigError, match=r"^api.bind: cannot listen on 192.0.2.1:8000: Cannot assign requested address$"
    ):
        addresses_in_use.refuse_taken(Api(bind=("192.0.2.1:8000",)))


def test_unix_sockets_and_inherited_sockets_are_not_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bind = f"127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setattr(addresses_in_use, "PATIENCE", 0.01)
        with pytest.raises(AddressTaken):
            addresses_in_use.refuse_taken(Api(bind=(bind,)))
        monkeypatch.setitem(os.environ, "LISTEN_FDS", "1")
        addresses_in_use.refuse_taken(Api(bind=(bind,)))
    addresses_in_use.refuse_taken(Api(bind=(f"unix:{tmp_path}/agent.sock",)))
