"""POST /hooks/deploy/<application>: accepted, ignored and refused deliveries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.conformance.shapes import assert_error, assert_invalid_args
from tests.hooks.pushing import SECRET, commit, deliver, encoded, hooked, push, scheduled, signed, taken


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """One busy agent for the module: scheduled actions stay NEW."""
    directory = tmp_path_factory.mktemp("hooked")
    started = AgentProcess(directory, config=hooked(directory)).start()
    started.occupy()
    yield started
    started.close()


def ignored(answer: Any) -> str:
    assert answer.status == 200, answer
    assert set(answer.json) == {"ignored"}, answer
    return str(answer.json["ignored"])


# Accepted


@pytest.mark.parametrize("digits", [40, 64])
def test_push_schedules_a_deploy_of_its_commit(agent: AgentProcess, digits: int) -> None:
    after = commit().rjust(digits, "a")
    action = taken(deliver(agent, encoded(push(after=after))))
    assert (action["action"], action["started_via"], action["user"]) == ("deploy", "hook", "hook:shop")
    assert action["metadata"] == {
        "application": "shop", "git_ref": after, "of_ref": "refs/heads/main", "pusher": "ada@example.com",
    }  # fmt: skip
    assert action["finished_at"] is None
    assert agent.get(f"/api/3/stacks/default/actions/{action['id']}").json == {"response": action}


def test_action_of_a_hook_is_on_both_wires_without_signature_headers(agent: AgentProcess) -> None:
    body = encoded(push())
    headers = {"X-Hub-Signature": "sha1=1", "X-Gitea-Signature": "2", "X-GitHub-Delivery": "3", "Idempotency-Key": ""}
    action = taken(deliver(agent, body, headers=headers))
    info = agent.info(agent.queue()[-1]["id"])["action"]
    assert (info["requester"], info["args"]) == ("HOOK", action["metadata"])
    assert info["headers"] == {}


def test_application_name_with_a_slash_has_its_own_hook_and_refs(agent: AgentProcess) -> None:
    for ref in ("refs/heads/release-7", "refs/tags/v1"):
        action = taken(deliver(agent, encoded(push(ref=ref)), "team/shop"))
        assert action["metadata"]["application"] == "team/shop"
    for ref in ("refs/heads/main", "refs/tags/v10", "refs/heads/Release-7"):
        assert ignored(deliver(agent, encoded(push(ref=ref)), "team/shop")) == f"{ref} is not deployed by hooks"


@pytest.mark.parametrize("header", ["X-GitHub-Event", "X-Gitea-Event", "X-Forgejo-Event"])
def test_the_event_is_read_from_the_header_of_each_server(agent: AgentProcess, header: str) -> None:
    assert taken(deliver(agent, encoded(push()), event=None, headers={header: "push"}))


@pytest.mark.parametrize(
    ("pusher", "shown"),
    [
        ({"email": "ada@example.com", "name": "ada"}, "ada@example.com"),
        ({"name": "Ada Lovelace"}, "Ada Lovelace"),
        ({"email": "\x1b[2J", "name": "ada"}, "ada"),
        ({"email": "x" * 256, "name": "y" * 255}, "y" * 255),
        (None, None),
        ("ada", None),
        ({}, None),
        ({"email": None, "name": 7}, None),
        ({"email": "", "name": "a\nb"}, None),
        ({"email": "\ud800@b"}, None),
    ],
)
def test_pusher_is_shown_and_never_the_user(agent: AgentProcess, pusher: Any, shown: str | None) -> None:
    action = taken(deliver(agent, encoded(push(pusher=pusher)), headers={"From": "x@y"}))
    assert (action["user"], action["metadata"].get("pusher")) == ("hook:shop", shown)


# Ignored


def test_a_ping_is_answered(agent: AgentProcess) -> None:
    before = scheduled(agent)
    assert ignored(deliver(agent, encoded({"zen": "Keep it logically awesome.", "hook_id": 1}), event="ping")) == "ping"
    assert scheduled(agent) == before


@pytest.mark.parametrize(
    ("event", "members", "why"),
    [
        ("issues", {}, "expected the event push, got issues"),
        ("push", {"ref": "refs/heads/other"}, "refs/heads/other is not deployed by hooks"),
        ("push", {"ref": "refs/heads/main/x"}, "refs/heads/main/x is not deployed by hooks"),
        ("push", {"deleted": True}, "refs/heads/main was deleted"),
        ("push", {"after": "0" * 40}, "refs/heads/main was deleted"),
    ],
)
def test_event_that_deploys_nothing_is_answered_and_not_scheduled(
    agent: AgentProcess, event: str, members: dict[str, Any], why: str
) -> None:
    before = scheduled(agent)
    assert ignored(deliver(agent, encoded(push(**members)), event=event)) == why
    assert scheduled(agent) == before


# Refused


def logged_since(agent: AgentProcess, lines: int) -> list[str]:
    """The log lines after the first `lines`; empty if earlier tests have used up the rate limit of this second."""
    return [line for line in agent.log_text().splitlines()[lines:] if "more calls were refused" not in line]


@pytest.mark.parametrize(
    "signature",
    [None, "", "sha256=", "sha256=" + "0" * 64, signed(b"other"), "sha1=" + "0" * 40, "\u00e9", "RIGHT", "DIGITS",
     "TWICE", "OTHER SECRET"],
)  # fmt: skip
def test_wrong_signature_is_401_with_one_log_line(agent: AgentProcess, signature: str | None) -> None:
    body = encoded(push())
    made = {
        "RIGHT": signed(body).upper(),
        "DIGITS": signed(body).removeprefix("sha256="),
        "TWICE": f"{signed(body)}, {signed(body)}",
        "OTHER SECRET": signed(body, "another secret"),
    }
    given = signature and made.get(signature, signature)
    before, lines = scheduled(agent), len(agent.log_text().splitlines())
    how = "is not sha256= and 64 hexadecimal digits in lower case" if given else "is missing"
    if given and re.fullmatch("sha256=[0-9a-f]{64}", given):
        how = "does not match the body"

    def logged() -> list[str]:
        answer = deliver(agent, body, headers={"X-Hub-Signature-256": given})
        assert_error(answer, 401, "Unauthenticated")
        assert answer.headers["WWW-Authenticate"] == 'HMAC-SHA256 header="X-Hub-Signature-256"'
        wanted = "sign the body as it is sent with the secret of the application's hook_secret"
        assert answer.json["error"] == f"X-Hub-Signature-256 {how}: {wanted}"
        return logged_since(agent, lines)

    [line] = eventually(logged, "it is logged")
    begin = "WARNING a caller from 127.0.0.1 was refused with 401: applications.shop.hook_secret: "
    assert line.startswith(f"{begin}X-Hub-Signature-256 {how}")
    assert scheduled(agent) == before


@pytest.mark.parametrize("body", [b"", b"no json", b"[" * 200_000, b"\xff"])
def test_body_is_not_parsed_before_its_signature_is_checked(agent: AgentProcess, body: bytes) -> None:
    wrong = {"X-Hub-Signature-256": signed(b"another"), "Content-Type": "text/plain", "X-GitHub-Event": None}
    assert_error(deliver(agent, body, headers=wrong), 401, "Unauthenticated")
    assert_error(deliver(agent, body), 400, "InvalidBody")


def test_every_byte_of_the_body_is_signed(agent: AgentProcess) -> None:
    body = encoded(push())
    assert_error(deliver(agent, body + b" ", headers={"X-Hub-Signature-256": signed(body)}), 401)
    assert taken(deliver(agent, body + b" "))


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", None])
def test_body_of_another_media_type_is_415(agent: AgentProcess, content_type: str | None) -> None:
    assert_error(deliver(agent, encoded(push()), headers={"Content-Type": content_type}), 415, "UnsupportedMediaType")


def test_too_large_body_is_413_with_any_signature(agent: AgentProcess) -> None:
    body = encoded(push(padding="x" * 1_100_000))
    assert_error(deliver(agent, body), 413, "BodyTooLarge")
    assert_error(deliver(agent, body, headers={"X-Hub-Signature-256": None}), 413, "BodyTooLarge")


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"ref": 7}, "ref"),
        ({"ref": None}, "ref"),
        ({"ref": "refs/heads/main..x"}, "of_ref"),
        ({"ref": "refs/heads/main^"}, "of_ref"),
        ({"ref": "refs/heads/\ud800"}, "of_ref"),
        ({"after": 7}, "after"),
        ({"after": "main"}, "after"),
        ({"after": "A" * 40}, "after"),
        ({"after": "a" * 41}, "after"),
        ({"after": "a" * 40 + "\n"}, "after"),
        ({"after": "--upload-pack=x"}, "after"),
        ({"deleted": "no"}, "deleted"),
        ({"deleted": 1}, "deleted"),
    ],
)
def test_members_of_another_type_are_refused(agent: AgentProcess, members: dict[str, Any], field: str) -> None:
    assert_invalid_args(deliver(agent, encoded(push(**members)), "all"), field)


@pytest.mark.parametrize("missing", ["ref", "after"])
def test_push_without_ref_or_after_is_refused(agent: AgentProcess, missing: str) -> None:
    body = push()
    del body[missing]
    assert_invalid_args(deliver(agent, encoded(body)), missing)


@pytest.mark.parametrize("body", [None, [], "push", 7])
def test_body_that_is_not_an_object_is_refused(agent: AgentProcess, body: Any) -> None:
    assert_invalid_args(deliver(agent, encoded(body)), "_schema")


def test_missing_event_header_is_refused(agent: AgentProcess) -> None:
    assert_error(deliver(agent, encoded(push()), event=None), 400, "InvalidHeader")


@pytest.mark.parametrize("signature", ["OWN", None, "sha256=" + "0" * 64, "sha1=0"])
@pytest.mark.parametrize("body", [b"", b"{}", b"no json", b"x" * 1_100_000])
def test_an_unknown_application_looks_like_a_wrong_signature(
    agent: AgentProcess, signature: str | None, body: bytes
) -> None:
    """Also for a sender that guesses the placeholder of a missing secret, or sends a too large body."""
    wrong = signed(body, "") if signature == "OWN" else signature
    headers = {"X-Hub-Signature-256": wrong, "X-GitHub-Event": None, "Content-Type": "text/plain"}
    names = ("shop", "quiet", "nobody", "shop/", "SHOP")
    answers = {name: deliver(agent, body, name, headers=headers) for name in names}
    for answer in answers.values():
        assert answer.status == (413 if len(body) > 1_048_576 else 401)
        assert answer.body == answers["shop"].body
        for name in ("Date", "X-Request-Id", "traceparent"):  # each answer has its own
            answer.headers.replace_header(name, "any")
        assert answer.headers.items() == answers["shop"].headers.items()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("quiet", "applications.quiet.hook_secret is not set"),
        ("no\nbody", r"unknown application 'no\nbody': a hook needs applications.NAME.hook_secret"),
    ],
)
def test_log_says_whether_the_application_or_its_secret_is_missing(agent: AgentProcess, name: str, reason: str) -> None:
    lines = len(agent.log_text().splitlines())

    def logged() -> list[str]:
        deliver(agent, b"", name)
        return logged_since(agent, lines)

    line = f"WARNING a caller from 127.0.0.1 was refused with 401: {reason}"
    assert eventually(logged, "it is logged") == [line]


@pytest.mark.parametrize(
    ("status", "body", "options", "reason"),
    [
        (413, {"padding": "x" * 1_100_000}, {}, "the body is larger than 1048576 bytes, the limit of api.max_body"),
        (415, {}, {"headers": {"Content-Type": "text/plain"}}, "the body must be application/json"),
        (400, {"after": "main"}, {}, "this is not the body of a push: after: "),
        (400, {}, {"event": None}, "the header X-GitHub-Event is missing: it must name the event"),
    ],
)
def test_every_refusal_leaves_a_line_that_names_the_option(
    agent: AgentProcess, status: int, body: dict[str, Any], options: dict[str, Any], reason: str
) -> None:
    lines = len(agent.log_text().splitlines())

    def logged() -> list[str]:
        assert deliver(agent, encoded(push(**body)), **options).status == status
        return logged_since(agent, lines)

    [line] = eventually(logged, "it is logged")
    begin = f"WARNING a caller from 127.0.0.1 was refused with {status}: the hook of applications.shop: "
    assert line.startswith(begin + reason), line


def test_a_hook_accepts_only_post(agent: AgentProcess) -> None:
    answer = agent.get("/hooks/deploy/shop")
    assert_error(answer, 405, "MethodNotAllowed")


def test_pages_of_other_origins_and_other_hosts_are_refused(agent: AgentProcess) -> None:
    assert_error(deliver(agent, encoded(push()), headers={"Origin": "http://elsewhere"}), 403, "Forbidden")
    assert_error(deliver(agent, encoded(push()), headers={"Host": "elsewhere"}), 421, "MisdirectedRequest")


# The secret


def test_secret_file_is_read_for_each_delivery_and_never_shown(start_agent: StartAgent, tmp_path: Path) -> None:
    agent = start_agent(config=hooked(tmp_path))
    file = tmp_path / "shop.secret"
    body = encoded(push())
    file.write_text("another secret of a hook")
    assert_error(deliver(agent, body), 401)
    assert taken(deliver(agent, body, headers={"X-Hub-Signature-256": signed(body, "another secret of a hook")}))
    for content in (None, b"", b"\xff\xfe", b"fifteen letters"):
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        answer = deliver(agent, encoded(push()))
        assert_error(answer, 503, "HookUnavailable")
        assert answer.headers["Retry-After"]
        assert str(tmp_path).encode() not in answer.body
    log = agent.log_text()
    assert f"ERROR applications.shop.hook_secret: {file} cannot be read: No such file" in log
    assert "another secret" not in log
    assert SECRET not in log


def test_missing_deploy_is_404_for_a_signed_delivery_only(start_agent: StartAgent, tmp_path: Path) -> None:
    agent = start_agent(config=hooked(tmp_path), env={"PATH": without_git(tmp_path)})
    assert_error(deliver(agent, encoded(push())), 404, "ActionNotAvailable")
    assert_error(deliver(agent, encoded(push()), headers={"X-Hub-Signature-256": None}), 401)


def without_git(directory: Path) -> str:
    """A PATH of programs that has no git."""
    programs = directory / "programs"
    programs.mkdir()
    return str(programs)
