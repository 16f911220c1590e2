"""How addresses are read: kinds and ids as they were sent, whatever they look like."""

from flask import Flask, request
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

UNSTABLE = "/api/unstable"
ACTIONS = f"{UNSTABLE}/actions"


class Anything(BaseConverter):
    """One character or more of any sort, slashes and line ends among them."""

    part_isolating = False
    regex = r"(?s:.+)"


class ActionId(BaseConverter):
    """The number of an AsyncAction or the uuid of an action."""

    regex = r"[0-9]+|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"


def init_app(app: Flask) -> None:
    app.url_map.converters["anything"] = Anything
    app.url_map.converters["id"] = ActionId
    # No redirect to an address that looks tidier.
    app.url_map.merge_slashes = False
    app.before_request(refuse_more_slashes)


def refuse_more_slashes() -> None:
    """Raises `NotFound` for `//api/...`: the router takes any number of slashes at the beginning for one."""
    if request.environ["PATH_INFO"].startswith("//"):
        raise NotFound
