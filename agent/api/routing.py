"""How addresses are read: kinds as they were sent, whatever they look like, and ids in lower case."""

import re
from typing import Any

from flask import Flask, request
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

UNSTABLE = "/api/unstable"
ACTIONS = f"{UNSTABLE}/actions"
UUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"


class Anything(BaseConverter):
    """One character or more of any sort, slashes and line ends among them."""

    part_isolating = False
    regex = r"(?s:.+)"


class ActionId(BaseConverter):
    """The number of an AsyncAction or the uuid of an action."""

    regex = rf"[0-9]+|{UUID}"


def init_app(app: Flask) -> None:
    app.url_map.converters["anything"] = Anything
    app.url_map.converters["id"] = ActionId
    # werkzeug would redirect an address with `//` to another one.
    app.url_map.merge_slashes = False
    app.before_request(refuse_more_slashes)
    app.url_value_preprocessor(read_id_in_any_case)


def refuse_more_slashes() -> None:
    """Raises `NotFound` for `//api/...`: the router takes any number of slashes at the beginning for one."""
    if request.environ["PATH_INFO"].startswith("//"):
        raise NotFound


def read_id_in_any_case(endpoint: str | None, values: dict[str, Any] | None) -> None:
    """The uuid of an action is kept in lower case, and is the same in upper case."""
    if values and re.fullmatch(UUID, action_id := str(values.get("action_id", ""))):
        values["action_id"] = action_id.lower()
