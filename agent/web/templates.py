"""The templates of the page; all text in them is escaped."""

import json
import re
import threading
from collections.abc import Callable
from typing import Any

from flask import Response, current_app
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from agent.clock import rfc3339
from agent.web import current_user, escaping
from agent.web.page_header import Head
from agent.web.static_files import DIGEST

TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:Z|[+-][0-9]{2}:[0-9]{2}))", re.ASCII)
FIRST = ("base.html", "parts.html", "icons.html", "home.html", "sign_in.html")
"""Templates of the first view. The others are compiled on demand: all of them would need 1 MiB more memory."""
SHORT = 200
"""Maximum characters of a text in a table."""


def answer(name: str, status: int = 200, **values: Any) -> Response:
    """A page rendered from the template `name`."""
    return Response(text(name, **values), status, mimetype="text/html")


def text(name: str, *, tag: str = "", **values: Any) -> str:
    """The page as text; with a `tag` its script polls for the next version."""
    head: Head = current_app.extensions["agent.web.head"]
    user = current_user.user()
    # An unauthenticated user sees no facts of the node, and causes no query of them.
    known = head.facts() if user is not None or not current_user.is_authenticated() else None
    common = {"head": known, "user": user, "signs_in": current_user.signs_in(), "tag": tag}
    return ENVIRONMENT.get_template(name).render(common | values)


def compile_in_background() -> None:
    """Compile the first templates early; otherwise the first view would take fifteen times as long."""
    threading.Thread(target=_compile, name="templates", daemon=True).start()


def _compile() -> None:
    for name in FIRST:
        ENVIRONMENT.get_template(name)


def when(microseconds: int | None) -> Markup:
    """A time of the database as HTML; the script shows it in the user's time zone."""
    stamp = rfc3339(microseconds)
    return Markup("") if stamp is None else moment(stamp)


def moment(stamp: str) -> Markup:
    """A time of RFC 3339 as HTML."""
    shown = stamp.replace("T", " ").replace("Z", " UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(stamp, shown, shown)


def with_times(text: str) -> Markup:
    """A sentence of the agent; the script shows its times in the user's time zone."""
    parts = TIME.split(escaping.line(text, SHORT))
    return Markup("").join(moment(each) if number % 2 else escape(each) for number, each in enumerate(parts))


def prose(text: str) -> Markup:
    """A description from the agent's code, with the text in backticks as code."""
    parts = escaping.line(text).split("`")
    code = Markup("<code>{}</code>").format
    return Markup("").join(code(each) if number % 2 else escape(each) for number, each in enumerate(parts))


def duration(seconds: float | None) -> str:
    """Seconds in the two largest units: `300 ms`, `42 s`, `3 min 5 s`, `2 h 4 min`, `3 d 2 h`."""
    if seconds is None:
        return ""
    if seconds < 0.95:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            count, rest = divmod(whole, size)
            return f"{count} {unit} {rest // smaller} {name}" if rest // smaller else f"{count} {unit}"
    return f"{whole} s"


def size(count: float) -> str:
    """A size in bytes with a suitable unit."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 1024 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{count:.0f} B" if units[0] == "B" else f"{count:.1f} {units[0]}"


def as_json(value: Any, most: int = 400) -> str:
    """A value on one line."""
    return escaping.line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), most)


def as_given(value: str) -> Markup:
    """The text that the user entered, unchanged, for its field."""
    return escape(value)


def _finalize(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    return escaping.line(value) if isinstance(value, str) else value


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("agent.web"),
        autoescape=True,
        auto_reload=False,
        finalize=_finalize,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    filters: tuple[Callable[..., Any], ...] = (when, moment, with_times, prose, duration, size, as_json, as_given)
    environment.filters |= {each.__name__: each for each in filters}
    environment.filters["short"] = lambda value: escaping.line(value or "", SHORT)
    environment.globals["static"] = f"/ui/static/{DIGEST}"
    return environment


ENVIRONMENT = _environment()
