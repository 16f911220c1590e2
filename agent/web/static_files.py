"""The static files of the page, under an address with a hash of their content."""

import hashlib
from importlib import resources

from flask import Blueprint, Response
from werkzeug.exceptions import NotFound

from agent.web.headers import KEPT
from agent.web.routes import page

bp = Blueprint("static", __name__)

TYPES = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
FILES = {name: resources.files("agent.web").joinpath("static", name).read_bytes() for name in TYPES}
DIGEST = hashlib.sha256(b"".join(FILES.values())).hexdigest()[:16]


@page(bp, "/static/<digest>/<name>", "The style sheet, the script or the icon.", public=True)
def static(digest: str, name: str) -> Response:
    if digest != DIGEST or name not in FILES:
        raise NotFound
    response = Response(FILES[name], mimetype=TYPES[name])
    response.headers["Cache-Control"] = KEPT
    return response
