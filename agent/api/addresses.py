"""How addresses are read: kinds and ids as they were sent, whatever they look like."""

from flask import Flask
from werkzeug.routing import BaseConverter


class Anything(BaseConverter):
    """One character or more of any sort, slashes and line ends among them."""

    part_isolating = False
    regex = r"(?s:.+)"


def init_app(app: Flask) -> None:
    app.url_map.converters["anything"] = Anything
    # No redirect to an address that looks tidier.
    app.url_map.merge_slashes = False
