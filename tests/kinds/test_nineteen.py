"""The nineteen action types of the AsyncAction: a configured agent offers each, and docs/kinds.rst has each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.agent_process import PREFIX, StartAgent

PAGE = Path(__file__).parents[2] / "docs" / "kinds.rst"
NINETEEN = (
    "deploy", "restart", "stack_reboot", "database_create", "database_delete", "database_user_create",
    "database_user_delete", "clear_caches", "maintenance_mode", "promote_slave_db", "resync_slave_db",
    "disable_replication_slave_db", "container_restart", "service_restart", "service_pause", "service_resume",
    "process_restart", "process_pause", "process_resume",
)  # fmt: skip
CONFIGURATION = """
[service]
unit = "postgresql@15-main.service"
[datastore]
kind = "postgresql"
url = "postgresql:///postgres?host=/run/postgresql"
data_directory = "/var/lib/postgresql/15/main"
[host]
services = ["postgresql@15-main.service"]
reboot = ["systemctl", "--no-ask-password", "reboot"]
[maintenance]
[containers]
[applications.shop]
repository = "https://git.example.com/shop.git"
path = "/srv/shop"
[processes.worker]
unit = "worker.service"
[caches.pages]
kind = "folder"
path = "/var/cache/shop"
"""


def test_fully_configured_agent_offers_all_nineteen_kinds(start_agent: StartAgent) -> None:
    agent = start_agent(config=CONFIGURATION)
    offered = {kind["kind"] for kind in agent.get(f"{PREFIX}/available").json}
    assert set(NINETEEN) - offered == set(), agent.get(f"{PREFIX}/available?missing=true").json


def test_unconfigured_agent_names_the_missing_option_of_each_kind(start_agent: StartAgent) -> None:
    agent = start_agent()
    for name in NINETEEN:
        answer = agent.post_schedule(name, {})
        assert answer.status == 404, answer
        assert re.fullmatch(rf"{name} is not available on this node: set .+ in the configuration", answer.json["error"])


@pytest.mark.parametrize("name", NINETEEN)
def test_page_documents_every_fact_of_each_kind(name: str) -> None:
    [section] = re.findall(rf"^``{name}``\n-+\n(.*?)(?=^``|\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert "\nResult:\n" in section
    assert ("\nArguments:\n" in section) or name == "stack_reboot"
    for fact in ("Configuration", "Privileges", "After an interruption"):
        message = re.search(rf"^:{fact}: (.+)$", section, re.MULTILINE)
        assert message is not None
        assert message[1] not in ("None.", "")
