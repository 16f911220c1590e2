"""How addresses are read: kinds and ids as they were sent, whatever they look like."""

from flask import Flask, request
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter


class Anything(BaseConverter):
    """One character or more of any sort, slashes and line ends among them."""

    part_isolating = False
    regex = r"(?s:.+)"


def init_app(app: Flask) -> None:
    app.url_map.converters["anything"] = Anything
    # No redirect to an address that looks tidier.
    app.url_map.merge_slashes = False
    app.before_request(refuse_more_slashes)


def refuse_more_slashes() -> None:
    """Raises `NotFound` for `//api/...`: the router takes any number of slashes at the beginning for one."""
    if request.environ["PATH_INFO"].startswith("//"):
        raise NotFound
