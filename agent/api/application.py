"""The WSGI application."""

from collections.abc import Callable
from typing import Any

from flask import Flask


class AgentApp(Flask):
    """Flask without coroutines: Flask would check each hook and view of each request for being one."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func
