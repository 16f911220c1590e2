"""`GET /`: redirects browsers to the page, and programs to the OpenAPI document."""

from flask import Blueprint, Response, request

from agent.web import access
from agent.web.routes import page

bp = Blueprint("root", __name__)

HOME = "/ui/"


@page(bp, "/", "Redirects to the page, or to the OpenAPI document.", public=True)
def root() -> Response:
    wants_page = request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"
    response = access.redirect(HOME if wants_page else "/openapi.json")
    response.headers["Vary"] = "Accept"
    return response


@page(bp, HOME.rstrip("/"), "Redirects to the page.", public=True)
def without_slash() -> Response:
    return access.redirect(HOME)
