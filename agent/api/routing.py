"""URL converters: a kind may contain any character; ids are read as lower case."""

import re
from typing import Any

from flask import Flask, request
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

UNSTABLE = "/api/unstable"
ACTIONS = f"{UNSTABLE}/actions"
UUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"


class Anything(BaseConverter):
    """One or more characters of any sort, including slashes and line ends."""

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
    app.url_value_preprocessor(lower_the_id)


def refuse_more_slashes() -> None:
    """Raises `NotFound` for `//api/...`: the router treats several leading slashes as one."""
    if request.environ["PATH_INFO"].startswith("//"):
        raise NotFound


def lower_the_id(endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Convert the uuid of an action to lower case, as it is stored."""
    if values and re.fullmatch(UUID, action_id := str(values.get("action_id", ""))):
        values["action_id"] = action_id.lower()
