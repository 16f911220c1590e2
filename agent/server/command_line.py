"""Checks gunicorn's command line: refuses the options that the agent sets itself."""

import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from gunicorn.config import Config

from agent.errors import ConfigError

APP = "wsgi:app"

FREE = frozenset(
    {
        "accesslog",
        "backlog",
        "capture_output",
        "check_config",
        "config",
        "disable_redirect_access_to_syslog",
        "errorlog",
        "loglevel",
        "pidfile",
        "print_config",
        "proc_name",
        "syslog",
        "syslog_addr",
        "syslog_facility",
        "syslog_prefix",
        "worker_tmp_dir",
    }
)
"""Permitted options: none of them affects authentication, the code that runs, or the log of requests."""

INSTEAD = {
    "bind": "api.bind",
    "ca_certs": "api.tls.clients_ca",
    "cert_reqs": "api.tls.clients_ca",
    "certfile": "api.tls.certificate",
    "group": "api.socket_group",
    "keyfile": "api.tls.key",
    "threads": "api.threads",
    "umask": "api.socket_mode",
}
"""The corresponding options of agent.toml."""


def check() -> None:
    """Check gunicorn's command line and `GUNICORN_CMD_ARGS` with its own parser. Raises `ConfigError`.

    Both override gunicorn's configuration file, at the start and at each reload.
    """
    parser = Config().parser()
    _check(parser, sys.argv[1:], "gunicorn's command line")
    _check(parser, shlex.split(os.environ.get("GUNICORN_CMD_ARGS", "")), "GUNICORN_CMD_ARGS")


def _check(parser: Any, words: Sequence[str], where: str) -> None:
    given = {name: value for name, value in vars(parser.parse_args(words)).items() if value not in (None, [])}
    if given.pop("args", [APP]) != [APP]:
        raise ConfigError(f"{where} names another application: remove it; the agent's is {APP}")
    for name in sorted(given.keys() - FREE):
        instead = f"set {INSTEAD[name]} in agent.toml instead" if name in INSTEAD else "the agent sets it itself"
        raise ConfigError(f"{where} sets {name}: remove it; {instead}")
