"""Pages that update themselves: an ETag for each view, long polling, and one rendering shared by equal users."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from zlib import crc32

from flask import Response, current_app, request

from agent.api import long_polling
from agent.api.context import context
from agent.web import current_user, templates
from agent.web.page_header import Head
from agent.web.static_files import DIGEST

MOST = 16
"""Maximum cached renderings: about the number of views open at the same time."""


class Rendered:
    """The newest rendering of each view, with its tag. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: OrderedDict[tuple[str, ...], tuple[str, str]] = OrderedDict()

    def page(self, view: tuple[str, ...], tag: str, render: Callable[[], str]) -> str:
        """The cached rendering if it has this tag, else a new one."""
        with self._lock:
            known, found = self._pages.get(view, ("", ""))
            if known == tag:
                return found
        made = render()
        with self._lock:
            self._pages[view] = tag, made
            self._pages.move_to_end(view)
            while len(self._pages) > MOST:
                self._pages.popitem(last=False)
        return made


def live(name: str, tag: Callable[[], str], template: str, values: Callable[[], dict[str, Any]]) -> Response:
    """Answer with a page; a caller that has it already waits for the next version, as its `Prefer` header says.

    `tag` must return a different text whenever `values` differ. It is also called outside of requests, once for all
    callers that wait for the view `name`.
    """
    head: Head = current_app.extensions["agent.web.head"]
    rendered: Rendered = current_app.extensions["agent.web.rendered"]
    user = repr(current_user.user())
    user_tag = f"{crc32(user.encode()):08x}"

    def whole() -> str:
        return f"{DIGEST}.{user_tag}.{head.tag()}.{tag()}"

    def body() -> Response:
        with context().store.snapshot():  # so that an action that ends now is not shown as both running and final
            now = whole()
            page = rendered.page((request.full_path, user), now, lambda: templates.text(template, tag=now, **values()))
        return Response(page, mimetype="text/html")

    return long_polling.respond(f"page {name} {user_tag}", whole, body)
