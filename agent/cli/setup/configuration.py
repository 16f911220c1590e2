"""The configuration that setup writes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.cli.setup.host import Server

FILE = Path("/etc/agent/agent.toml")
STATE = Path("/var/lib/agent")
TOKENS = STATE / "tokens.toml"
SOCKET = Path("/run/agent/agent.sock")
CERTIFICATE, KEY = Path("/etc/agent/server.pem"), Path("/etc/agent/server.key")
PORT = 8000
HEAD = """\
# Written by `agentctl setup`, which keeps changes by hand. `agentctl config show` prints every option and its meaning.
# After a change: agentctl config check && systemctl reload agent
"""


def text(server: Server, options: Mapping[str, str], password_file: Path | None, tls_names: Sequence[str]) -> str:
    """The configuration for a server. `options`: of `[datastore]`. `tls_names`: listen on all addresses, with TLS."""
    tables: dict[str, dict[str, object]] = {
        # Setup schedules replicante.test.ping.
        "agent": {"db": str(STATE / "agent.db"), "test_kinds": True},
        "api": {
            "bind": [f"unix:{SOCKET}", f"{'0.0.0.0' if tls_names else '127.0.0.1'}:{PORT}"],
            "tokens": str(TOKENS),
        },
        "service": {"supervisor": "systemd", "unit": server.unit},
        "datastore": {"kind": server.kind, **options},
    }
    if tls_names:
        tables["api"]["allowed_hosts"] = list(tls_names)
        tables["api.tls"] = {"certificate": str(CERTIFICATE), "key": str(KEY)}
    if password_file is not None:
        tables["datastore"]["password_file"] = str(password_file)
    return HEAD + "".join(f"\n[{name}]\n{_lines(table)}" for name, table in tables.items())


def _lines(table: Mapping[str, object]) -> str:
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in table.items())
