"""Nodes on a bridge that a controller connects to by ssh, as root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.servers.bridge import Bridge
from tests.servers.node import CHECKOUT, Node
from tests.servers.sshd import new_key, public

SSH = "ssh.service"


def node(bridge: Bridge, name: str, key: Path, **options: Any) -> Node:
    """A node, not booted, without the checkout. root can log in with `key`, which is created if it does not exist."""
    if not key.exists():
        new_key(key)
    empty = key.with_name("empty")
    empty.mkdir(exist_ok=True)
    options["binds"] = [f"{empty}:{CHECKOUT}", *options.get("binds", [])]
    made = Node(name, netns=bridge.join(name), keep_units=[SSH, *options.pop("keep_units", [])], **options)
    made.write("/root/.ssh/authorized_keys", public(key), 0o600)
    made.path("/root/.ssh").chmod(0o700)
    # The start-up files of this machine's root may delay each command.
    made.write("/root/.bashrc", "")
    made.write("/etc/ssh/sshd_config.d/quick.conf", "UseDNS no\nUsePAM no\n")
    return made


def variables(bridge: Bridge, name: str, key: Path) -> dict[str, Any]:
    """Variables of the inventory for a controller in the bridge's namespace."""
    return {
        "ansible_host": bridge.members[name],
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        "ansible_python_interpreter": "/usr/bin/python3",
    }
