"""gunicorn's worker for the agent: one event loop for all connections; a signal also stops the engine."""

import os
import threading
import time
from typing import Any

from gunicorn.workers import base

from agent.server.event_loop import EventLoop


class Worker(base.Worker):  # type: ignore[misc]
    """Uses gunicorn for the process, the signals and the parsing of requests, and `EventLoop` for the connections."""

    alive: bool
    _event_loop: EventLoop | None = None

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: stop gracefully. After a SIGHUP, the master sends it to each replaced worker too."""
        self._leave()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGINT or SIGQUIT: stop as gracefully as after SIGTERM."""
        self._leave()

    def _leave(self) -> None:
        """Stop the engine at once: the running step needs the time until gunicorn's graceful_timeout."""
        if not self.alive:
            return
        self.alive = False
        if self._event_loop is not None:
            self._event_loop.leave()
        # In another thread, because the thread interrupted by the signal may hold the engine's lock.
        threading.Thread(target=self._stop_engine, name="leave", daemon=True).start()

    def _stop_engine(self) -> None:
        if app := getattr(self, "wsgi", None):
            app.extensions["agent"].engine.begin_stop()

    def run(self) -> None:
        """Called by gunicorn after the application is loaded; returns when the last connection has ended."""
        tls = (lambda: self.cfg.ssl_context(self.cfg, None)) if self.cfg.is_ssl else None
        event_loop = self._event_loop = EventLoop(self.sockets, self.cfg, self.wsgi, self.log.access, tls)
        while self.alive and self.ppid == os.getppid():
            self.notify()
            event_loop.turn()
        event_loop.leave()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while not event_loop.empty and time.monotonic() < deadline:
            self.notify()
            event_loop.turn()
        event_loop.close()
