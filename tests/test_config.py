"""Every option is checked when it is read, and a mistake is reported in one line with its option."""

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from agent import config, datastores
from agent.config import Settings
from agent.config.mistakes import Mistake
from agent.datastores.base import DatastoreRefused
from agent.errors import ConfigError
from tests.agent_process import CHECKOUT, StartAgent
from tests.servers.process import free_port

STRANGERS = "a loopback address or unix:/path as long as neither api.tokens nor api.tls.clients_ca is set"
HARMLESS = "names of headers that hold no credentials"
WRONG = [
    # table, option, what the file says, what is expected, what was got
    ("agent", "db", "1", "a text", "1"),
    ("agent", "db", '""', "a text", '""'),
    ("agent", "node", "[]", "a text", "[]"),
    ("agent", "node", '"  "', "a text", '"  "'),
    ("agent", "stack", "true", "a text", "true"),
    ("agent", "test_kinds", '"yes"', "true or false", '"yes"'),
    ("agent", "kinds", '"witness"', "a list of texts", '"witness"'),
    ("agent", "kinds", "[1]", "a list of texts", "[1]"),
    ("agent", "kinds", '[""]', "a list of texts", '[""]'),
    ("api", "bind", "8000", "host:port or unix:/path", "8000"),
    ("api", "bind", '"8000"', "host:port or unix:/path", '"8000"'),
    ("api", "bind", '"localhost:99999"', "host:port or unix:/path", '"localhost:99999"'),
    ("api", "bind", '"unix:relative"', "host:port or unix:/path", '"unix:relative"'),
    ("api", "bind", '"unix:"', "host:port or unix:/path", '"unix:"'),
    ("api", "bind", '"0.0.0.0:8000"', STRANGERS, '"0.0.0.0:8000"'),
    ("api", "bind", '"[::]:8000"', STRANGERS, '"[::]:8000"'),
    ("api", "bind", '"db-1:8000"', STRANGERS, '"db-1:8000"'),
    ("api", "allowed_hosts", '"db-1"', "a list of texts", '"db-1"'),
    ("api", "allowed_hosts", '["db-1:8000"]', "a list of host names without ports", '["db-1:8000"]'),
    ("api", "allowed_hosts", '["*"]', "a list of host names without ports", '["*"]'),
    ("api", "tokens", "true", "a text", "true"),
    ("api", "record_headers", '"x-change"', "a list of texts", '"x-change"'),
    ("api", "record_headers", '["x change"]', f"a list of {HARMLESS}", '["x change"]'),
    ("api", "record_headers", '["X-Api-Key"]', f"a list of {HARMLESS}", '["X-Api-Key"]'),
    ("api", "socket_mode", "1.5", 'the permissions of a file, such as "0660"', "1.5"),
    ("api", "socket_group", "0", "the name of a group", "0"),
    ("agent", "kinds_path", "1", "a text", "1"),
    ("api", "tls", '"server.pem"', "a table", '"server.pem"'),
    ("api", "async_actions", "true", 'one of "seed", "typed"', "true"),
    ("api", "node_protocol", '"0.6"', 'one of "seed", "0.5"', '"0.6"'),
    ("api", "threads", "0", "a positive integer", "0"),
    ("api", "threads", "1.5", "a positive integer", "1.5"),
    ("api", "threads", "true", "a positive integer", "true"),
    ("api", "max_body", "-1", "a positive integer", "-1"),
    ("actions", "execute_interval", "0", "a positive number", "0"),
    ("actions", "execute_interval", "inf", "a positive number", "Infinity"),
    ("actions", "execute_interval", "1e10", "a positive number", "10000000000.0"),
    ("actions", "execute_interval", "nan", "a positive number", "NaN"),
    ("actions", "execute_interval", '"1s"', "a positive number", '"1s"'),
    ("actions", "execute_interval", "false", "a positive number", "false"),
    ("actions", "queue_limit", '"many"', "a positive integer", '"many"'),
    ("actions", "queue_limit", "0", "a positive integer", "0"),
    ("actions", "queue_bytes", "0", "a positive integer", "0"),
    ("actions", "history_bytes", "0", "a positive integer", "0"),
    ("actions", "approval", '"deploy"', "a list of texts", '"deploy"'),
    ("actions", "output_limit", "0", "a positive integer", "0"),
    ("actions", "finished_limit", "0", "a positive integer", "0"),
    ("actions", "prune_interval", "-0.5", "a positive number", "-0.5"),
    ("actions", "prune_keep", "-1", "an integer of 0 or more", "-1"),
    ("actions", "prune_keep", "true", "an integer of 0 or more", "true"),
    ("actions", "prune_limit", "0", "a positive integer", "0"),
    ("actions", "resume_within", "-1", "a positive number", "-1"),
    ("actions", "timeouts", "60", "a table", "60"),
    ("audit", "keep", "400", 'a time span such as "90s", "24h" or "400d"', "400"),
    ("audit", "keep", '"0d"', 'a time span such as "90s", "24h" or "400d"', '"0d"'),
    ("audit", "keep", '"400 days"', 'a time span such as "90s", "24h" or "400d"', '"400 days"'),
    ("audit", "rows", "0", "a positive integer", "0"),
    ("service", "supervisor", '"runit"', 'one of "systemd", "commands"', '"runit"'),
    ("service", "unit", "1", "a text", "1"),
    ("service", "pid", '"pidof redis"', 'a command as a list of words, such as ["/bin/true"]', '"pidof redis"'),
    ("service", "start", "[]", 'a command as a list of words, such as ["/bin/true"]', "[]"),
    ("service", "stop", '["", "x"]', 'a command as a list of words, such as ["/bin/true"]', '["", "x"]'),
    ("service", "attempts", "0", "a positive integer", "0"),
    ("service", "interval", "0", "a positive number", "0"),
    ("service", "timeout", '"long"', "a positive number", '"long"'),
    ("datastore", "url", "[1979-05-27]", "a text", '["1979-05-27"]'),
    ("datastore", "password_file", "0", "a text", "0"),
    ("datastore", "timeout", "0", "a positive number", "0"),
]
GOOD = {
    "service": 'supervisor = "systemd"\nunit = "redis.service"\n',
    "datastore": 'kind = "redis"\nurl = "redis://localhost"\n',
}
EXTERNAL = 'action = ["/bin/true"]\ncheck = ["/bin/true"]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agent.toml"


def load(file: Path, text: str, **environ: str) -> Settings:
    file.write_text(text)
    return config.load({"AGENT_CONFIG": str(file), **environ})


def refused(file: Path, text: str, **environ: str) -> str:
    """The message for a configuration that must be refused: one line that begins with the file."""
    with pytest.raises(ConfigError) as caught:
        load(file, text, **environ)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{file}: ")


# Wrong values


@pytest.mark.parametrize(("table", "option", "value", "expected", "got"), WRONG)
def test_wrong_value_is_reported_with_option_expectation_and_value(
    file: Path, table: str, option: str, value: str, expected: str, got: str
) -> None:
    kept = [line for line in GOOD.get(table, "").splitlines() if not line.startswith(f"{option} ")]
    text = "\n".join([f"[{table}]", *kept, f"{option} = {value}"])
    assert refused(file, text) == f"{table}.{option}: expected {expected}, got {got}"


def test_every_core_option_has_a_wrong_value_in_these_tests() -> None:
    core = ("agent", "api", "actions", "audit", "service")
    options = {(table, each.name) for table in core for each in fields(config.TABLES[table])}
    assert options <= {(table, option) for table, option, *_ in WRONG}


def test_every_option_refuses_a_value_of_another_type() -> None:
    sections = [*config.TABLES.values(), *config.NAMED_TABLES.values()]
    for each in [each for section in sections for each in fields(section)]:
        with pytest.raises(Mistake):
            each.metadata["check"](date(2019, 8, 30))


def test_unknown_kind_of_datastore_is_refused(file: Path) -> None:
    message = refused(file, '[datastore]\nkind = "oracle"\nurl = "x"\n')
    assert message.startswith("datastore.kind: expected one of ")
    assert message.endswith(', got "oracle"')


@pytest.mark.parametrize("value", ["0", '"an hour"', "true"])
def test_a_wrong_timeout_of_a_kind_names_the_kind(file: Path, value: str) -> None:
    message = refused(file, f'[actions]\ntimeouts = {{ deploy = 60, "external.vacuum" = {value} }}\n')
    assert message == f"actions.timeouts.external.vacuum: expected a positive number, got {value}"


def test_a_number_too_large_for_a_clock_is_refused(file: Path) -> None:
    message = refused(file, f"[actions]\nexecute_interval = 1{'0' * 400}\n")
    assert message.startswith("actions.execute_interval: expected a positive number, got 1000")


def test_a_home_directory_of_an_unknown_user_is_refused(file: Path) -> None:
    assert refused(file, '[agent]\ndb = "~nobody-has-this-name/agent.db"\n').startswith("agent.db: expected ")


# Tables and names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[agents]\n", "agents: unknown option, expected one of "),
        ("queue_limit = 1\n", "queue_limit: unknown option, expected one of "),
        ("[actions]\nqueue_limits = 1\n", "actions.queue_limits: unknown option, expected one of "),
        (
            f"[external_actions.x]\n{EXTERNAL}shell = true\n",
            "external_actions.x.shell: unknown option, expected one of ",
        ),
    ],
)
def test_unknown_table_or_option_is_reported_with_the_known_ones(file: Path, text: str, message: str) -> None:
    assert refused(file, text).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("agent = 1\n", "agent: expected a table, got 1"),
        ("external_actions = []\n", "external_actions: expected a table for each name, got []"),
        ("[external_actions]\nx = 1\n", "external_actions.x: expected a table, got 1"),
        ("[[actions]]\n", "actions: expected a table, got [{}]"),
    ],
)
def test_value_in_place_of_a_table_is_reported(file: Path, text: str, message: str) -> None:
    assert refused(file, text) == message


@pytest.mark.parametrize("name", ["vacuum", "vacuum.full", "a/b", "0_a-Z"])
def test_external_action_keeps_its_configured_name(file: Path, name: str) -> None:
    settings = load(file, f'[external_actions."{name}"]\n{EXTERNAL}')
    assert list(settings.external_actions) == [name]
    assert settings.external_actions[name].action == ("/bin/true",)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("1", "args: expected a table for each argument, got 1"),
        ("{ x = 1 }", "args.x: expected a table, got 1"),
        ("{ x = {} }", 'args.x.type: expected a value, such as "string", got nothing'),
        ('{ x = { type = "text" } }', 'args.x.type: expected one of "string", "integer", "number", "boolean", '),
        ('{ x = { type = "string", secrt = true } }', "args.x.secrt: unknown option, expected one of description, "),
        ('{ x = { type = "string", secret = 1 } }', "args.x.secret: expected true or false, got 1"),
        ('{ x = { type = "integer", secret = true } }', 'args.x.type: expected "string", as secret is true, got "inte'),
        ('{ "a b" = { type = "string" } }', "args: expected names of letters, digits, dashes and underscores, got"),
    ],
)
def test_wrong_arguments_of_an_external_action_are_refused_with_their_place(
    file: Path, args: str, message: str
) -> None:
    found = refused(file, f"[external_actions.x]\n{EXTERNAL}args = {args}\n")
    assert found.startswith(f"external_actions.x.{message}")


@pytest.mark.parametrize("name", ["", ".hidden", "with space", "ümlaut", "a\\nb", "?x"])
def test_a_name_that_cannot_be_part_of_an_address_is_refused(file: Path, name: str) -> None:
    message = refused(file, f'[external_actions."{name}"]\n{EXTERNAL}')
    assert message.startswith("external_actions: expected a name of letters, digits, dots, dashes")


def test_dotted_name_without_quotes_is_refused(file: Path) -> None:
    """TOML reads such a name as nested tables."""
    message = refused(file, f"[external_actions.vacuum.full]\n{EXTERNAL}")
    assert message.startswith("external_actions.vacuum.full: unknown option")


@pytest.mark.parametrize(
    ("option", "value"), [("action", '"/bin/true"'), ("check", "[]"), ("timeout", "0"), ("interval", '"1"')]
)
def test_wrong_value_of_an_external_action_is_reported_with_its_option(file: Path, option: str, value: str) -> None:
    kept = "\n".join(line for line in EXTERNAL.splitlines() if not line.startswith(option))
    message = refused(file, f'[external_actions."vacuum.full"]\n{kept}\n{option} = {value}\n')
    assert message.startswith(f"external_actions.vacuum.full.{option}: expected ")
    assert message.endswith(f", got {value}")


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ('[datastore]\nkind = "redis"\n', "datastore.url"),
        ('[datastore]\nurl = "x"\n', "datastore.kind"),
        ('[external_actions.x]\naction = ["a"]\n', "external_actions.x.check"),
        ('[external_actions.x]\ncheck = ["a"]\n', "external_actions.x.action"),
        ("[service]\n", "service.unit"),
        ('[api.tls]\nkey = "server.key"\n', "api.tls.certificate"),
        ('[api.tls]\ncertificate = "server.pem"\n', "api.tls.key"),
        ('[service]\nsupervisor = "systemd"\n', "service.unit"),
        ('[service]\nsupervisor = "commands"\n', "service.pid"),
        ('[service]\nsupervisor = "commands"\npid = ["a"]\nstart = ["a"]\n', "service.stop"),
    ],
)
def test_missing_option_is_reported(file: Path, text: str, option: str) -> None:
    message = refused(file, text)
    assert message.startswith(f"{option}: expected a value, ")
    assert message.endswith(", got nothing")


# The file


def test_a_file_that_is_not_toml_is_reported_with_the_line(file: Path) -> None:
    message = refused(file, "[actions]\nqueue_limit = many\n")
    assert message.startswith("not TOML: ")
    assert "line 2" in message


def test_a_file_that_is_not_text_is_reported(file: Path) -> None:
    file.write_bytes(b"\xff\xfe[actions]")
    with pytest.raises(ConfigError, match="not TOML"):
        config.load({"AGENT_CONFIG": str(file)})


@pytest.mark.parametrize("missing", [True, False])
def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path, missing: bool) -> None:
    path = tmp_path / "nowhere" if missing else tmp_path
    with pytest.raises(ConfigError) as caught:
        config.load({"AGENT_CONFIG": str(path)})
    why = "No such file or directory" if missing else "Is a directory"
    assert str(caught.value) == f"{path}: cannot be read: {why}"


def test_defaults_are_used_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "SEARCHED", ("agent.toml",))
    assert config.load({}) == Settings()


def test_the_file_of_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "agent.toml").write_text('[agent]\nnode = "db-1"\n')
    assert config.load({}).agent.node == "db-1"


def test_an_empty_file_is_all_defaults(file: Path) -> None:
    assert load(file, "") == Settings()


def test_default_of_every_option_passes_its_check(file: Path) -> None:
    settings = load(file, "[agent]\n[api]\n[actions]\n")
    assert settings == Settings()
    for section in (settings.agent, settings.api, settings.actions):
        for each in fields(section):
            assert each.metadata["check"] is not None
            assert "section" in each.metadata or each.metadata["help"].endswith(".")
            value = getattr(section, each.name)
            if value is None:
                continue
            read = str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
            assert each.metadata["check"](read) == value
            assert each.default is not MISSING or each.default_factory is not MISSING


def test_values_are_read_from_the_file(file: Path) -> None:
    settings = load(
        file,
        """
        [agent]
        db = "~/state.db"
        kinds = ["a.b", "c"]
        [actions]
        execute_interval = 2
        timeouts = { deploy = 60 }
        [service]
        supervisor = "commands"
        pid = ["pidof", "redis"]
        start = ["start"]
        stop = ["stop", ""]
        """,
        HOME="/nowhere",
    )
    assert settings.agent.db == Path.home() / "state.db"
    assert settings.agent.kinds == ("a.b", "c")
    assert settings.actions.execute_interval == 2.0
    assert settings.actions.timeouts == {"deploy": 60.0}
    assert settings.service is not None
    assert settings.service.stop == ("stop", "")


@pytest.mark.parametrize(
    "bind", ["127.0.0.1:8000", "127.3.2.1:1", "localhost:80", "[::1]:8000", "unix:/run/agent/agent.sock"]
)
def test_loopback_and_unix_addresses_are_accepted_without_tokens(file: Path, bind: str) -> None:
    assert load(file, f'[api]\nbind = "{bind}"\n').api.bind == (bind,)


# The environment


def test_the_environment_overrides_the_file(file: Path) -> None:
    text = '[agent]\ndb = "a.db"\n[api]\nbind = "127.0.0.1:1"\n'
    settings = load(file, text, AGENT_DB="/b.db", AGENT_BIND="unix:/c.sock")
    assert (settings.agent.db, settings.api.bind) == (Path("/b.db"), ("unix:/c.sock",))


def test_an_empty_variable_overrides_nothing(file: Path) -> None:
    assert load(file, '[agent]\ndb = "a.db"\n', AGENT_DB="", AGENT_BIND="").agent.db == Path("a.db")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("AGENT_BIND", "0.0.0.0:80", "AGENT_BIND: expected a loopback address or unix:/path"),
        ("AGENT_BIND", "80", "AGENT_BIND: expected host:port or unix:/path"),
        ("AGENT_DB", " ", "AGENT_DB: expected a text"),
    ],
)
def test_wrong_environment_variable_is_reported_by_name(file: Path, variable: str, value: str, message: str) -> None:
    assert refused(file, "", **{variable: value}).startswith(message)


def test_under_systemd_the_state_is_in_the_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/agent:/var/lib/other")
    assert Settings().agent.db == Path("/var/lib/agent/agent.db")


# Through an agent


def started_in_vain(directory: Path, text: str, status: int = os.EX_CONFIG, **environ: str) -> str:
    """The output of an agent that must not start: it exits with the status of the mistake, without a traceback."""
    (directory / "agent.toml").write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AGENT_", "GUNICORN_"))}
    ended = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", str(CHECKOUT / "gunicorn.conf.py")],
        cwd=directory,
        env=kept
        | {
            "AGENT_CONFIG": str(directory / "agent.toml"),
            "AGENT_DB": str(directory / "agent.db"),
            "AGENT_BIND": f"127.0.0.1:{free_port()}",
            "PYTHONPATH": f"{CHECKOUT}:{directory}",
        }
        | environ,
        capture_output=True,
        timeout=60,
        text=True,
        check=False,
    )
    printed = ended.stdout + ended.stderr
    assert ended.returncode == status, printed
    assert "Traceback" not in printed, printed
    message = [line for line in printed.splitlines() if line.startswith("agent: ")]
    assert len(message) == 1, printed
    return message[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[actions]\nqueue_limit = "many"\n', 'actions.queue_limit: expected a positive integer, got "many"'),
        ("[actions\n", "not TOML"),
        ('[agent]\nkinds = ["no_such_module"]\n', "agent.kinds: cannot import no_such_module"),
        ('[agent]\nkinds = ["broken_module"]\n', "agent.kinds: cannot import broken_module"),
        ('[agent]\nkinds = ["raising_module"]\n', "agent.kinds: cannot import raising_module"),
        ('[agent]\nkinds = ["twice"]\n', "the kind replicante.test.ping is defined twice"),
    ],
)
def test_wrong_configuration_stops_the_start_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "broken_module.py").write_text("def:\n")
    (tmp_path / "raising_module.py").write_text("1 / 0\n")
    (tmp_path / "twice.py").write_text(
        "from agent.kinds.base import Kind\nclass Mine(Kind):\n    name = 'replicante.test.ping'\n"
    )
    assert message in started_in_vain(tmp_path, text)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"AGENT_BIND": "0.0.0.0:80"}, "AGENT_BIND: expected a loopback address"),
        ({"AGENT_CONFIG": "/nowhere/agent.toml"}, "/nowhere/agent.toml: cannot be read: No such file or directory"),
    ],
)
def test_wrong_environment_stops_the_start_with_the_reason(
    tmp_path: Path, environ: dict[str, str], message: str
) -> None:
    assert message in started_in_vain(tmp_path, "", os.EX_CONFIG, **environ)


@pytest.mark.parametrize("db", ["/nowhere/agent.db", "/proc/version"])
def test_unavailable_database_path_ends_the_start_with_1_for_a_retry(tmp_path: Path, db: str) -> None:
    """systemd then tries again."""
    assert f"agent.db: {db} cannot be opened: " in started_in_vain(tmp_path, "", 1, AGENT_DB=db)


def test_file_that_is_not_a_database_stops_the_start_and_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "agent.db").write_bytes(b"precious " * 1000)
    assert "not a database" in started_in_vain(tmp_path, "")
    assert (tmp_path / "agent.db").read_bytes() == b"precious " * 1000


def test_an_agent_takes_its_options_from_the_file(start_agent: StartAgent) -> None:
    agent = start_agent(config='[actions]\nqueue_limit = 1\n[agent]\nnode = "db-7"\n')
    agent.occupy()
    agent.schedule("replicante.test.ping", {})
    assert agent.post_schedule("replicante.test.ping", {}).status == 429


def settings_of(**tables: Any) -> Settings:
    return config.parse(tables)


def test_a_document_is_parsed_without_a_file() -> None:
    assert settings_of(agent={"node": "x"}).agent.node == "x"
    with pytest.raises(ConfigError, match=r"^agent\.toml: agent\.node: expected a text, got 1$"):
        settings_of(agent={"node": 1})


PEERS = {"kind": "redis", "url": "redis://127.0.0.1:6379", "peers": {"db-2": {"url": "redis://127.0.0.1:6380"}}}


def test_a_peer_is_a_table_of_the_datastore() -> None:
    parsed = config.parse({"datastore": PEERS}).datastore
    assert parsed and parsed.peers["db-2"].url == "redis://127.0.0.1:6380"
    assert datastores.of(parsed).peer("db-2") == parsed.peers["db-2"]


def test_a_mistake_in_a_peer_names_the_option() -> None:
    wrong = PEERS | {"peers": {"db-2": {"url": "redis://127.0.0.1:6380", "pasword_file": "x"}}}
    with pytest.raises(ConfigError, match=r"datastore\.peers\.db-2\.pasword_file: unknown option"):
        config.parse({"datastore": wrong})


def test_an_unknown_peer_is_refused_with_the_known_ones() -> None:
    parsed = config.parse({"datastore": PEERS}).datastore
    assert parsed
    with pytest.raises(
        DatastoreRefused, match=r"unknown peer 'db-3': add \[datastore.peers.\"db-3\"\] \(known: db-2\)"
    ):
        datastores.of(parsed).peer("db-3")


def test_unreadable_folder_does_not_hide_another_configuration(
    server_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `sudo -i`: a command of root changes to that user and searches again."""
    other = server_dir / "other.toml"
    other.touch()
    private = server_dir / "private"
    private.mkdir(mode=0o700)
    monkeypatch.chdir(private)
    monkeypatch.setattr(config, "SEARCHED", ("agent.toml", str(other)))
    assert _as_nobody(lambda: config.file({})) == other
    (private / "agent.toml").touch()
    assert config.file({}) == Path("agent.toml")
    assert _as_nobody(lambda: config.file({})) == Path("agent.toml"), "no other one than root has read"


def _as_nobody(look: Callable[[], Path | None]) -> Path | None:
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        return look()
    finally:
        os.seteuid(0)
