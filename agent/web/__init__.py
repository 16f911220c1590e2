"""The page of this node for browsers, under /ui/. It uses the functions of the API; the API does not depend on it."""

from flask import Blueprint, Flask

from agent.web import access, error_pages, headers, root, templates
from agent.web.action import bp as action
from agent.web.ask import bp as ask
from agent.web.finished import bp as finished
from agent.web.home import bp as home
from agent.web.page_header import Head
from agent.web.session_pages import bp as session_pages
from agent.web.sessions import Sessions
from agent.web.static_files import bp as static_files
from agent.web.views import Rendered

PREFIX = "/ui"


def init_app(app: Flask) -> None:
    """Add the pages to the application of the API."""
    app.extensions["agent.web.sessions"] = Sessions()
    app.extensions["agent.web.head"] = Head(app)
    app.extensions["agent.web.rendered"] = Rendered()
    app.extensions["agent.after_start"] = (templates.compile_in_background,)
    pages = Blueprint("web", __name__)
    access.init_app(pages)
    headers.init_app(pages)
    error_pages.init_app(pages)
    for blueprint in (home, finished, action, ask, session_pages, static_files, error_pages.bp):
        pages.register_blueprint(blueprint)
    app.register_blueprint(pages, url_prefix=PREFIX)
    app.register_blueprint(root.bp)
