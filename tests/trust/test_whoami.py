"""GET /api/unstable/whoami: the caller as the agent knows it. Certificates: tests/cli/test_encrypted.py."""

from __future__ import annotations

import hashlib
import os
import pwd
from contextlib import closing
from pathlib import Path

from tests.agent_process import AgentProcess
from tests.trust.guarded import (
    PINGER,
    PINGER_TOKEN,
    READER,
    READER_TOKEN,
    THREE,
    Guarded,
    assert_refused,
    bearer,
    write_tokens,
)

PATH = "/api/unstable/whoami"
USER = pwd.getpwuid(os.getuid()).pw_name
END_OF_IDENTITY, END_OF_TOKEN = "2999-06-01T00:00:00Z", "2999-01-31T12:00:00Z"
AUDITOR, AUDITOR_TOKEN = "auditor@example.com", "the-token-of-the-auditor-012345"


def test_whoami_shows_the_identity_and_permissions_of_a_token(guarded: Guarded) -> None:
    answer = guarded.get(PATH, headers=bearer(PINGER_TOKEN))
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert answer.json == {
        "user": PINGER,
        "authenticated_by": "token",
        "read_only": False,
        "kinds": ["replicante.test.p?ng", "external.*"],
        "permissions": [],
        "expires_ts": None,
    }


def test_read_only_caller_may_schedule_no_kind(guarded: Guarded) -> None:
    found = guarded.get(PATH, headers=bearer(READER_TOKEN)).json
    assert (found["user"], found["read_only"], found["kinds"]) == (READER, True, [])


def test_an_unknown_caller_is_refused(guarded: Guarded) -> None:
    assert_refused(guarded.get(PATH), 401, "Unauthenticated")
    assert_refused(guarded.get(PATH, headers=bearer("no-such-token-0123456789")), 401, "Unauthenticated")


def test_unauthenticated_caller_may_schedule_every_kind(shared_agent: AgentProcess) -> None:
    found = shared_agent.get(PATH).json
    assert (found["user"], found["authenticated_by"], found["kinds"]) == (None, None, ["*"])


def test_earliest_expiry_is_shown_and_a_local_user_is_known_by_the_socket(tmp_path: Path) -> None:
    ending = f"""
        ["{AUDITOR}"]
        permissions = ["audit"]
        expires = {END_OF_IDENTITY}
        [["{AUDITOR}".tokens]]
        sha256 = "{hashlib.sha256(AUDITOR_TOKEN.encode()).hexdigest()}"
        expires = {END_OF_TOKEN}
        [unix."{USER}"]
        kinds = ["*"]
        expires = {END_OF_IDENTITY}
    """
    file = write_tokens(tmp_path / "tokens.toml", THREE + ending)
    config = f'[agent]\nnode = "db-1"\n[api]\ntokens = "{file}"\n'
    with closing(Guarded(tmp_path, config=config, unix=True).start()) as agent:
        found = agent.get(PATH, headers=bearer(AUDITOR_TOKEN)).json
        assert (found["permissions"], found["expires_ts"]) == (["audit"], END_OF_TOKEN)
        local = agent.get(PATH).json
        assert (local["user"], local["authenticated_by"]) == (f"{USER}@db-1", "unix")
        assert (local["kinds"], local["expires_ts"]) == (["*"], END_OF_IDENTITY)
