"""Configurations for a real Redis and its commands, as a document or as the text of a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agent import config
from agent.config import Settings
from tests.servers.redis import RedisServer

Document = dict[str, dict[str, Any]]


def over(server: RedisServer, **service: Any) -> Document:
    """The server as service and datastore; `service` changes options of the former."""
    commands = {
        "supervisor": "commands",
        "pid": server.pid_command,
        "start": server.start_command,
        "stop": server.stop_command,
        "interval": 0.1,
    }
    return {
        "service": commands | service,
        "datastore": {"kind": "redis", "url": f"unix://{server.socket}", "timeout": 10},
    }


def settings(document: Document) -> Settings:
    return config.parse(document)


def toml(document: Mapping[str, Any]) -> str:
    """The document as a file; its tables are inline, which suits JSON's strings, numbers and lists."""
    return "".join(f"{name} = {_value(value)}\n" for name, value in document.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)} = {_value(each)}" for name, each in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
