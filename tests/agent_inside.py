"""A real agent that is a unit of a node, driven over HTTP from outside."""

from __future__ import annotations

import sys
from http.client import HTTPConnection, HTTPException
from typing import Any

from tests.agent_process import CHECKOUT, PREFIX, AgentProcess, eventually
from tests.kinds.configuring import toml
from tests.servers.node import Node

PORT = 8000
DATASTORE = {"kind": "redis", "url": "redis://127.0.0.1:6379"}

AGENT_UNIT = f"""
[Service]
Environment=PYTHONPATH={CHECKOUT} AGENT_CONFIG=/etc/agent.toml AGENT_BIND=127.0.0.1:{PORT}
StateDirectory=agent
ExecStart={sys.executable} -m gunicorn -c {CHECKOUT}/gunicorn.conf.py
"""


class AgentInside(AgentProcess):
    """An agent that is a unit of a node; each configuration begins with an empty state."""

    def __init__(self, node: Node) -> None:
        self.node, self.directory = node, node.dir
        node.write("/etc/systemd/system/agent.service", AGENT_UNIT)
        node.systemctl("daemon-reload")

    def configure(self, document: dict[str, Any]) -> AgentInside:
        self.close()
        self.node.run("rm", "-rf", "/var/lib/agent")
        self.node.write("/etc/agent.toml", toml(document))
        self.node.systemctl("start", "agent")
        eventually(self._answers, f"an answer of the agent:\n{self.log_text()}", 30)
        return self

    def over(self, unit: str, **service: Any) -> AgentInside:
        return self.configure({"service": {"unit": unit, "interval": 0.2} | service, "datastore": DATASTORE})

    def perform(self, kind: str) -> Any:
        return self.await_final(self.schedule(f"replicante.service.{kind}", {}), timeout=30)

    def connect(self, timeout: float = 10.0) -> HTTPConnection:
        return self.node.http(PORT, timeout)

    def close(self) -> None:
        self.node.systemctl("stop", "agent")

    def log_text(self) -> str:
        return self.node.run("journalctl", "--unit=agent", "--no-pager", "--lines=100").stdout

    def _answers(self) -> bool:
        try:
            return self.get(f"{PREFIX}/queue").status < 500
        except (OSError, HTTPException):
            return False
