"""What the modules share: the options of a connection, its client, and errors as the failure of a task."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.datastore.agent.plugins.module_utils.client import Client, ClientError, Refused, TimedOut

RUN_ID = re.compile(r"[0-9A-Za-z][!-~]{0,99}")
OPTIONS: dict[str, dict[str, Any]] = {
    "url": {"type": "str", "default": "unix:/run/agent/agent.sock"},
    "token": {"type": "str", "no_log": True},
    "token_file": {"type": "path", "no_log": False},
    "ca_file": {"type": "path"},
    "certificate_file": {"type": "path"},
    "key_file": {"type": "path", "no_log": False},
    "answer_timeout": {"type": "int", "default": 30},
    "patience": {"type": "int", "default": 600},
}


def run(function: Callable[[AnsibleModule, Client], dict[str, Any]], options: dict[str, Any], **more: Any) -> None:
    """Run a module: `function` returns what the task registers. A `ClientError` fails the task with its sentence."""
    module = AnsibleModule(
        argument_spec=OPTIONS | options,
        mutually_exclusive=[("token", "token_file"), *more.pop("mutually_exclusive", [])],
        required_together=[("certificate_file", "key_file")],
        supports_check_mode=True,
        **more,
    )
    try:
        module.exit_json(**function(module, _client(module)))
    except Refused as error:
        module.fail_json(msg=_sentence(error), status=error.status, details=error.details)
    except TimedOut as error:
        module.fail_json(msg=str(error), timed_out=True)
    except ClientError as error:
        module.fail_json(msg=str(error), unreachable_agent=True)


def _client(module: AnsibleModule) -> Client:
    params = module.params
    token = params["token"]
    if (file := params["token_file"]) is not None:
        try:
            token = Path(file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            module.fail_json(msg=f"token_file: {file} cannot be read: {error}")
        if not token:
            module.fail_json(msg=f"token_file: {file} is empty: write the token of the caller to it")
        module.no_log_values.add(token)
    tls = {"ca": params["ca_file"], "certificate": params["certificate_file"], "key": params["key_file"]}
    return Client(params["url"], token, tls, timeout=params["answer_timeout"], patience=params["patience"])


def run_id_of(module: AnsibleModule) -> str | None:
    """The id of the run; fails the task for one that could be taken for another."""
    run_id: str | None = module.params["run_id"]
    if run_id is not None and not RUN_ID.fullmatch(run_id):
        module.fail_json(msg=f"run_id: expected 1 to 100 letters, digits and signs without a space, got {run_id!r}")
    return run_id


def _sentence(error: Refused) -> str:
    """With what is wrong with each argument."""
    details = "; ".join(f"{name}: {', '.join(map(str, found))}" for name, found in sorted(error.details.items()))
    if error.status == 401:
        return f"{error}: set token_file (or token) of the connection to a token of this agent's tokens file"
    return f"{error} ({details})" if details else str(error)
