"""The table "Who can see what" of docs/promises.rst, cell by cell, on a real agent."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent_process import CHECKOUT, PREFIX, eventually
from tests.trust.guarded import DBA, DBA_TOKEN, READER, READER_TOKEN, Guarded, bearer, table, write_tokens

AUDITOR, AUDITOR_TOKEN = "auditor@example.com", "the-token-of-the-auditor-012345"
PAGE = (CHECKOUT / "docs" / "promises.rst").read_text()
HEADING = "Who can see what\n----------------\n"
MARKS = {
    "arguments": "the-argument-of-the-test",
    "secret arguments, once final": "the-secret-of-the-test",
    "headers of the list": "the-request-id-of-the-test",
    "other headers": "the-other-header-of-the-test",
    "tokens": DBA_TOKEN,
    "payloads and history": "the-payload-of-the-test",
    "audit trail": "action.scheduled",
}
WHO = ("no token", "any token", "token with ``audit``", "other users of the host", "log", "files of the agent")
PRINTING = """
import json, sys
args = json.load(sys.stdin)["args"]
print(json.dumps({"status": "finished", "said": "the-payload-of-the-test", "back": args["password"]}))
"""


def cells() -> dict[tuple[str, str], bool]:
    """The cells of the table in docs/promises.rst."""
    section = PAGE[PAGE.index(HEADING) :].partition("\n**")[0]
    rows = [re.findall(r"^(?:   \* - |     - )(.+)$", row, re.M) for row in re.split(r"(?m)(?=^   \* - )", section)]
    head, *body = [row for row in rows if row]
    return {(what, who): cell == "yes" for what, *cells in body for who, cell in zip(head[1:], cells, strict=True)}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bytes]]:
    """Everything that each reader can access, after an action with all of these data has ended."""
    directory = tmp_path_factory.mktemp("seen")
    auditor = table(AUDITOR, AUDITOR_TOKEN, [], read_only=True) + 'permissions = ["audit"]\n'
    callers = table(DBA, DBA_TOKEN, ["*"]) + table(READER, READER_TOKEN, [], read_only=True) + auditor
    file = write_tokens(directory / "tokens.toml", callers)
    (directory / "agent").mkdir()
    agent = Guarded(directory / "agent", config=config(file))
    agent.token = DBA_TOKEN
    agent.start()
    try:
        headers: dict[str, str | None] = {
            "X-Request-Id": MARKS["headers of the list"],
            "X-Other": MARKS["other headers"],
            "Idempotency-Key": "seen",
        }
        args = {"table": MARKS["arguments"], "password": MARKS["secret arguments, once final"]}
        action_id = agent.schedule("external.printing", args, headers=headers)
        agent.await_final(action_id)
        eventually(lambda: args["password"].encode() not in files(agent.directory), "the secret is erased", 5)
        yield {
            "no token": answers(agent, action_id, None),
            "any token": answers(agent, action_id, READER_TOKEN),
            "token with ``audit``": answers(agent, action_id, AUDITOR_TOKEN),
            "other users of the host": files(agent.directory, of_others=True),
            "log": agent.log_text().encode(),
            "files of the agent": files(agent.directory),
        }
    finally:
        agent.close()


def config(tokens: Path) -> str:
    check = json.dumps([sys.executable, "-c", PRINTING])
    args = '{ table = { type = "string" }, password = { type = "string", secret = true } }'
    return (
        f'[api]\ntokens = "{tokens}"\n[external_actions.printing]\naction = ["true"]\ncheck = {check}\nargs = {args}\n'
    )


def answers(agent: Guarded, action_id: str, token: str | None) -> bytes:
    """The bodies of all answers, of any status."""
    paths = [f"{PREFIX}/{each}" for each in ("queue", "finished", "available", f"info/{action_id}")]
    paths += ["/api/3/stacks/default/actions", "/api/3/stacks/default/actions/1", "/api/unstable/events"]
    paths += ["/api/unstable/whoami", "/metrics"]
    headers = bearer(token) if token else {"Authorization": None}
    return b"".join(agent.get(path, headers=headers).body for path in paths)


def files(directory: Path, *, of_others: bool = False) -> bytes:
    """The contents of the agent's files, except its log and its configuration."""
    found = [each for each in directory.rglob("agent.db*") if each.is_file()]
    assert found
    return b"".join(each.read_bytes() for each in found if not of_others or each.stat().st_mode & 0o077)


def test_table_has_a_cell_for_each_secret_and_place() -> None:
    assert set(cells()) == {(what, who) for what in MARKS for who in WHO}


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("what", MARKS)
def test_secret_is_visible_only_where_the_table_says(seen: dict[str, bytes], what: str, who: str) -> None:
    assert (MARKS[what].encode() in seen[who]) is cells()[what, who]
