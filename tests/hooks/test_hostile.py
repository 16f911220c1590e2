"""Hostile signed deliveries are refused or ignored without an internal error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent_process import PREFIX, AgentProcess
from tests.conformance.shapes import assert_error
from tests.fuzz.corpus import ENCODINGS, FRAGMENTS, SEGMENTS
from tests.fuzz.harmless import assert_no_failure_logged
from tests.fuzz.wire import assert_clean, talk
from tests.hooks.pushing import commit, deliver, encoded, hooked, push

TEMPLATES = (
    b"%s",
    b'{"ref": %s, "after": "' + b"a" * 40 + b'"}',
    b'{"ref": "refs/heads/main", "after": %s}',
    b'{"ref": "refs/heads/main", "after": "' + commit().encode() + b'", "deleted": %s}',
    b'{"ref": "refs/heads/main", "after": "' + commit().encode() + b'", "pusher": %s}',
    b'{"ref": "refs/heads/main", "after": "' + commit().encode() + b'", "pusher": {"email": %s}}',
)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    directory = tmp_path_factory.mktemp("hostile")
    started = AgentProcess(directory, config=hooked(directory)).start()
    started.occupy()
    yield started
    started.close()


@pytest.mark.parametrize("template", TEMPLATES)
def test_hostile_signed_body_is_refused_or_ignored(agent: AgentProcess, template: bytes) -> None:
    for name, fragment in (FRAGMENTS | ENCODINGS).items():
        answer = deliver(agent, template.replace(b"%s", fragment))
        assert answer.status in (200, 400), (name, answer)
        if answer.status == 400:
            assert_error(answer, 400, "InvalidBody", "InvalidArgs")
    assert agent.get(f"{PREFIX}/queue").status == 200
    assert_no_failure_logged(agent)


def test_hostile_application_name_is_refused(agent: AgentProcess) -> None:
    for segment in SEGMENTS.values():
        head = b"POST /hooks/deploy/%s HTTP/1.1\r\nHost: localhost\r\nX-Hub-Signature-256: x\r\n" % segment
        answers = talk(agent, head + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        assert_clean(answers)
        assert not [answer for answer in answers if answer.status == 200]
    assert_no_failure_logged(agent)


def test_hostile_event_is_ignored_and_hostile_signature_refused(agent: AgentProcess, tmp_path: Path) -> None:
    for value in ("\u00ff" * 100, "x" * 8000, "push, push", "PUSH", "\u00e9push", "%s%n{0}"):
        answer = deliver(agent, encoded(push()), event=value)
        assert answer.status == 200
        assert set(answer.json) == {"ignored"}
        assert_error(deliver(agent, encoded(push()), headers={"X-Hub-Signature-256": value}), 401)
    assert_no_failure_logged(agent)
