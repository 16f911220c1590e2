"""Sessions: sign-in, access and expiry, and requests that are refused for every user."""

from __future__ import annotations

import json
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

import pytest

from agent import clock
from agent.web import sessions
from agent.web.sessions import Sessions
from tests.agent_process import PREFIX, AgentProcess, Response, StartAgent
from tests.trust.guarded import DBA_TOKEN, PINGER_TOKEN, READER_TOKEN, THREE, Guarded, table, write_tokens
from tests.web.people import Node

FORM = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
NO_TOKEN: dict[str, str | None] = {"Authorization": None}


def post_form(agent: AgentProcess, path: str, form: dict[str, str], headers: dict[str, str]) -> Response:
    return agent.post(path, body=urlencode(form).encode(), headers=NO_TOKEN | headers)


def sign_in(agent: AgentProcess, token: str) -> Response:
    return post_form(agent, "/ui/sign-in", {"token": token, "next": "/ui/finished"}, FORM)


def cookie_of(answer: Response) -> str:
    """The cookie as a browser sends it back."""
    found = SimpleCookie(answer.headers["Set-Cookie"])
    [(name, morsel)] = found.items()
    assert morsel["httponly"] and morsel["samesite"] == "Strict" and morsel["path"] == "/"
    return f"{name}={morsel.value}"


def get(agent: AgentProcess, path: str, cookie: str = "", **headers: str) -> Response:
    return agent.get(path, headers=NO_TOKEN | headers | ({"Cookie": cookie} if cookie else {}))


def test_a_token_opens_a_session_once(node: Node) -> None:
    answer = sign_in(node, DBA_TOKEN)
    assert (answer.status, answer.headers["Location"]) == (303, "/ui/finished")
    assert DBA_TOKEN not in str(answer.headers)
    cookie = cookie_of(answer)
    assert get(node, "/ui/", cookie).status == 200
    assert post_form(node, "/ui/sign-out", {}, FORM | {"Cookie": cookie}).status == 303
    assert get(node, "/ui/", cookie).headers["Location"] == "/ui/sign-in?next=%2Fui%2F"


@pytest.mark.parametrize(
    "token", ["", "wrong", DBA_TOKEN[:-1], "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")]
)
def test_wrong_token_opens_no_session(node: Node, token: str) -> None:
    answer = sign_in(node, token)
    assert answer.status == 401
    assert "Set-Cookie" not in answer.headers
    assert b"no identity has this token" in answer.body


@pytest.mark.parametrize(
    "address", ["https://example.com/", "//example.com/ui/", "/api/", "/ui/\r\nX: 1", "javascript:1", "ui/"]
)
def test_sign_in_redirects_to_own_pages_only(node: Node, address: str) -> None:
    answer = post_form(node, "/ui/sign-in", {"token": DBA_TOKEN, "next": address}, FORM)
    assert (answer.status, answer.headers["Location"]) == (303, "/ui/")


def test_cookie_is_accepted_by_the_page_and_never_by_the_api(node: Node) -> None:
    cookie = cookie_of(sign_in(node, DBA_TOKEN))
    for path in (f"{PREFIX}/queue", f"{PREFIX}/list", "/api/unstable/whoami", "/openapi.json", "/metrics"):
        assert get(node, path, cookie).status == 401, path
    assert (
        node.post(f"{PREFIX}/schedule/replicante.test.success", json={}, headers=NO_TOKEN | {"Cookie": cookie}).status
        == 401
    )


def test_token_is_accepted_by_the_api_and_never_by_the_page(node: Node) -> None:
    assert node.get("/ui/").status == 303


@pytest.mark.parametrize(
    "path", ["/ui/", "/ui/finished", "/ui/ask", "/ui/ask/tests.copy", "/ui/actions/1", "/ui/actions/1/output"]
)
def test_unknown_visitor_sees_only_the_sign_in_form(node: Node, path: str) -> None:
    answer = get(node, path)
    assert (answer.status, answer.body) == (303, b"")
    form = get(node, answer.headers["Location"])
    assert form.status == 200
    assert b"db-1.example.com" not in form.body


def test_every_answer_has_the_security_headers(node: Node) -> None:
    cookie = cookie_of(sign_in(node, DBA_TOKEN))
    for path in ("/ui/", "/ui/ask", "/ui/nothing", "/ui/sign-in", "/ui/finished?kind=x", "/ui/ask/no-such-kind"):
        headers = get(node, path, cookie).headers
        policy = dict(each.split(" ", 1) for each in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        own = {policy[each] for each in ("script-src", "style-src", "img-src", "connect-src", "form-action")}
        assert own == {"'self'"}
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"


SCHEDULE = "/ui/ask/replicante.test.success"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "own"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://own"},
        {"Origin": "null"},
        {},
    ],
)
def test_form_of_another_origin_is_refused(node: Node, headers: dict[str, str]) -> None:
    cookie = cookie_of(sign_in(node, DBA_TOKEN))
    own = f"127.0.0.1:{node.port}"
    sent = {name: f"http://{own}" if value == "own" else value.replace("own", own) for name, value in headers.items()}
    before = node.newest_id()
    for path in (SCHEDULE, "/ui/actions/1/cancel", "/ui/actions/1/approve", "/ui/sign-in", "/ui/sign-out"):
        form = {"do": "schedule", "token": DBA_TOKEN}
        answer = post_form(node, path, form, {"Content-Type": FORM["Content-Type"], "Cookie": cookie} | sent)
        assert answer.status == 403, path
        assert "Set-Cookie" not in answer.headers
    assert node.newest_id() == before
    assert get(node, "/ui/", cookie).status == 200


def test_own_form_is_accepted_by_its_origin_header_alone(node: Node) -> None:
    cookie = cookie_of(sign_in(node, DBA_TOKEN))
    headers = {"Content-Type": FORM["Content-Type"], "Cookie": cookie, "Origin": f"http://127.0.0.1:{node.port}"}
    assert post_form(node, SCHEDULE, {"do": "plan"}, headers).status == 200


def test_reader_gets_no_button_and_403_for_a_request(node: Node) -> None:
    cookie = cookie_of(sign_in(node, READER_TOKEN))
    with node.copying() as (action_id, _):
        held = node.schedule("tests.drop", {"name": "orders"})
        for path in ("/ui/", f"/ui/actions/{action_id}", f"/ui/actions/{held}", "/ui/ask"):
            body = get(node, path, cookie).body
            assert body.count(b"<button") == 1 and b"Sign out" in body, path
        assert get(node, "/ui/ask/tests.copy", cookie).status == 403
        for path in (SCHEDULE, f"/ui/actions/{action_id}/cancel", f"/ui/actions/{held}/approve"):
            assert post_form(node, path, {"do": "schedule"}, FORM | {"Cookie": cookie}).status == 403, path
        assert node.state(action_id) == "RUNNING"
        node.cancel(held)


def test_cancel_and_approval_without_permission_are_403(node: Node) -> None:
    cookie = cookie_of(sign_in(node, PINGER_TOKEN))
    with node.copying() as (action_id, _):
        assert post_form(node, f"/ui/actions/{action_id}/cancel", {}, FORM | {"Cookie": cookie}).status == 403
        assert post_form(node, f"/ui/actions/{action_id}/approve", {}, FORM | {"Cookie": cookie}).status == 403
        assert node.state(action_id) == "RUNNING"


def test_destructive_action_without_plan_and_typed_name_is_refused(node: Node) -> None:
    cookie, before = cookie_of(sign_in(node, DBA_TOKEN)), node.newest_id()
    for form in ({}, {"typed": "orders"}, {"planned": "x", "typed": "orders"}):
        sent = {"do": "schedule", "arg.name": "orders", **form}
        answer = post_form(node, "/ui/ask/tests.drop", sent, FORM | {"Cookie": cookie})
        assert answer.status == 400, form
    assert node.newest_id() == before


def test_form_sent_twice_schedules_one_action(node: Node) -> None:
    cookie = cookie_of(sign_in(node, DBA_TOKEN))
    planned = post_form(node, SCHEDULE, {"do": "plan"}, FORM | {"Cookie": cookie}).body.decode()
    form = {name: value_of(planned, name) for name in ("planned", "key")} | {"do": "schedule"}
    answers = [post_form(node, SCHEDULE, form, FORM | {"Cookie": cookie}) for _ in range(2)]
    assert [answer.status for answer in answers] == [303, 303]
    assert answers[0].headers["Location"] == answers[1].headers["Location"]


def value_of(page: str, name: str) -> str:
    """The value of a hidden field."""
    return page.partition(f'name="{name}" value="')[2].partition('"')[0]


def test_a_session_ends_with_its_token_and_follows_its_permissions(start_agent: StartAgent, tmp_path: object) -> None:
    agent = start_agent(config="")
    agent.close()
    tokens = write_tokens(agent.directory / "tokens.toml")
    guarded = Guarded(agent.directory, config=f'[api]\ntokens = "{tokens}"\n').start()
    try:
        cookie = cookie_of(sign_in(guarded, DBA_TOKEN))
        assert b'href="/ui/ask/replicante.test.success"' in get(guarded, "/ui/ask", cookie).body
        write_tokens(tokens, THREE.replace('kinds = ["*"]', "kinds = []", 1))
        assert b'href="/ui/ask/replicante.test.success"' not in get(guarded, "/ui/ask", cookie).body
        write_tokens(tokens, table("other@example.com", "another-token-0123456789", ["*"]))
        assert get(guarded, "/ui/", cookie).status == 303
        write_tokens(tokens, THREE)
        assert get(guarded, "/ui/", cookie).status == 303, "a session that ended does not come back"
    finally:
        guarded.close()


def test_session_whose_token_expired_does_not_come_back(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens.toml", THREE)
    agent = Guarded(tmp_path, config=f'[api]\ntokens = "{tokens}"\n').start()
    try:
        cookie = cookie_of(sign_in(agent, DBA_TOKEN))
        write_tokens(tokens, THREE.replace("sha256", "expires = 2020-01-01T00:00:00Z\nsha256", 1))
        assert get(agent, "/ui/", cookie).headers["Location"] == "/ui/sign-in?next=%2Fui%2F"
        refused = sign_in(agent, DBA_TOKEN)
        assert (refused.status, refused.headers["Set-Cookie"]) == (401, None)
        write_tokens(tokens, THREE)
        assert get(agent, "/ui/", cookie).status == 303
    finally:
        agent.close()


def test_second_sign_in_ends_the_previous_session_and_ignores_foreign_cookie_values(node: Node) -> None:
    before = cookie_of(sign_in(node, DBA_TOKEN))
    form = {"token": READER_TOKEN, "next": "/ui/"}
    for given in (before, f"{before.partition('=')[0]}=fixed-by-another"):
        after = cookie_of(post_form(node, "/ui/sign-in", form, FORM | {"Cookie": given}))
        assert after != given
        assert get(node, "/ui/", given).status == 303
        assert get(node, "/ui/", after).status == 200


def test_form_of_an_unknown_person_is_small(node: Node) -> None:
    many = node.post("/ui/sign-in", body=b"a&" * 1000, headers=NO_TOKEN | FORM)
    assert many.status == 400
    long = post_form(node, "/ui/sign-in", {"token": DBA_TOKEN, "next": "/ui/" + "a" * 5000}, FORM)
    assert (long.status, long.headers["Location"]) == (303, "/ui/")


def test_foreign_host_name_of_this_address_is_refused(open_agent: AgentProcess) -> None:
    """As in DNS rebinding: the browser takes the agent for the page's own origin."""
    other = FORM | {"Host": f"evil.example.com:{open_agent.port}"}
    assert open_agent.get("/ui/", headers=other).status == 421
    assert post_form(open_agent, SCHEDULE, {"do": "schedule"}, other).status == 421


def test_agent_without_authentication_shows_the_page_without_sign_in(open_agent: AgentProcess) -> None:
    answer = open_agent.get("/ui/")
    assert answer.status == 200
    assert b"Sign out" not in answer.body
    assert open_agent.get("/ui/sign-in").headers["Location"] == "/ui/"
    planned = post_form(open_agent, SCHEDULE, {"do": "plan"}, FORM).body.decode()
    form = {name: value_of(planned, name) for name in ("planned", "key")} | {"do": "schedule"}
    action_id = post_form(open_agent, SCHEDULE, form, FORM).headers["Location"].rpartition("/")[2]
    assert open_agent.info(action_id)["action"]["requester"] == "WEB"
    assert post_form(open_agent, SCHEDULE, form, FORM | {"Sec-Fetch-Site": "cross-site"}).status == 403


def test_root_redirects_browsers_to_the_page_and_programs_to_the_document(open_agent: AgentProcess) -> None:
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    for accepted, address in ((browser, "/ui/"), ("application/json", "/openapi.json"), ("*/*", "/openapi.json")):
        answer = open_agent.get("/", headers={"Accept": accepted})
        assert (answer.status, answer.headers["Location"]) == (303, address)


def test_path_without_its_slash_redirects_to_the_page(node: Node) -> None:
    answer = get(node, "/ui")
    assert (answer.status, answer.headers["Location"]) == (303, "/ui/")


def test_disabled_page_is_not_served(start_agent: StartAgent) -> None:
    agent = start_agent(config="[web]\nenabled = false\n")
    for path in ("/", "/ui/", "/ui/sign-in"):
        assert agent.get(path).status == 404
        assert agent.get(path).json["variant"] == "NotFound"


def test_link_of_another_site_keeps_the_session(node: Node) -> None:
    """Its request has no cookie, because the cookie is `SameSite=Strict`."""
    answer = get(node, "/ui/finished?kind=deploy", **{"Sec-Fetch-Site": "cross-site"})
    assert answer.status == 200
    assert b'<meta http-equiv="refresh" content="0">' in answer.body
    assert get(node, "/ui/finished", **{"Sec-Fetch-Site": "same-origin"}).status == 303


# Class Sessions


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, in a list of one."""
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    return now


def test_a_session_ends_after_an_hour_without_use_and_after_twelve_in_any_case(time: list[float]) -> None:
    known = Sessions()
    idle, used = known.open(b"token"), known.open(b"token")
    for _ in range(13):
        time[0] += 3300
        assert known.token(used) == b"token"
    assert known.token(idle) is None
    time[0] += 3300
    assert known.token(used) is None


def test_session_stores_only_the_hash_of_its_cookie(time: list[float]) -> None:
    known = Sessions()
    value = known.open(b"token")
    assert value not in repr(vars(known))
    assert known.token(value[:-1]) is None
    known.close(value)
    assert known.token(value) is None


def test_sessions_are_bounded(time: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST", 3)
    known = Sessions()
    values = []
    for _ in range(4):
        time[0] += 1
        values.append(known.open(b"token"))
    assert [known.token(each) for each in values] == [None, b"token", b"token", b"token"]
    assert json.dumps(values)


def test_sessions_of_one_token_do_not_displace_those_of_another(
    time: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MOST_OF_A_TOKEN", 3)
    known = Sessions()
    other = known.open(b"another token")
    values = []
    for _ in range(5):
        time[0] += 1
        values.append(known.open(b"token"))
    assert [known.token(each) for each in values] == [None, None, b"token", b"token", b"token"]
    assert known.token(other) == b"another token"
