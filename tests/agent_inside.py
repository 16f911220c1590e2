"""Real agents that run as the unit of a node, called over HTTP from outside."""

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


class AgentInNode(AgentProcess):
    """The agent of a node as its unit, by any kind of installation."""

    def __init__(self, node: Node) -> None:
        self.node, self.directory = node, node.dir

    def end(self, how: str) -> None:
        """Restart it, or kill all of it; and await that it is back."""
        if how == "restart":
            self.node.systemctl("restart", "agent")
        else:
            before = self.node.show("agent", "NRestarts")
            self.node.systemctl("kill", "--signal=KILL", "agent")
            eventually(lambda: self.node.show("agent", "NRestarts") != before, "systemd starts it anew", 20)
        self.await_ready()

    def close(self) -> None:
        self.node.systemctl("stop", "agent")

    def connect(self, timeout: float = 10.0) -> HTTPConnection:
        return self.node.http(PORT, timeout)

    def log_text(self) -> str:
        return self.node.run("journalctl", "--no-pager", "--unit=agent*").stdout if self.node.leader else ""

    def _answers(self) -> bool:
        try:
            return self.get(f"{PREFIX}/queue", timeout=5).status < 500
        except (OSError, HTTPException):
            return False


class AgentInside(AgentInNode):
    """The agent of this checkout, as root; each configuration begins with an empty state."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        node.write("/etc/systemd/system/agent.service", AGENT_UNIT)
        node.systemctl("daemon-reload")

    def configure(self, document: dict[str, Any]) -> AgentInside:
        self.close()
        self.node.run("rm", "-rf", "/var/lib/agent")
        self.node.write("/etc/agent.toml", toml(document))
        self.node.systemctl("start", "agent")
        self.await_ready()
        return self

    def over(self, unit: str, **service: Any) -> AgentInside:
        return self.configure({"service": {"unit": unit, "interval": 0.2} | service, "datastore": DATASTORE})

    def perform(self, kind: str) -> Any:
        return self.await_final(self.schedule(f"replicante.service.{kind}", {}), timeout=30)
