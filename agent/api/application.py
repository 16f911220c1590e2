"""The WSGI application."""

from collections.abc import Callable
from typing import Any

from flask import Flask


class AgentApp(Flask):
    """Flask without coroutines: it would look at each hook and view of each request whether it is one."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func
