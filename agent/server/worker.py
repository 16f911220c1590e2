"""gunicorn's worker as the agent needs it: one loop for all connections, and an engine that stops with a signal."""

import os
import threading
import time
from typing import Any

from gunicorn.workers import base

from agent.server.event_loop import EventLoop


class Worker(base.Worker):  # type: ignore[misc]
    """Uses gunicorn for the process, the signals and the parsing of requests; `EventLoop` has the connections."""

    alive: bool
    _reception: EventLoop | None = None

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: stop gracefully. A worker that is replaced after a SIGHUP of the master gets it too."""
        self._leave()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGINT or SIGQUIT: stop as gracefully as after SIGTERM."""
        self._leave()

    def _leave(self) -> None:
        """Stop the engine at once: the running step needs the time until gunicorn's graceful_timeout."""
        if not self.alive:
            return
        self.alive = False
        if self._reception is not None:
            self._reception.leave()
        # In a thread: the one that this signal interrupts may hold the engine's lock.
        threading.Thread(target=self._stop_engine, name="leave", daemon=True).start()

    def _stop_engine(self) -> None:
        if app := getattr(self, "wsgi", None):
            app.extensions["agent"].engine.begin_stop()

    def run(self) -> None:
        """Called by gunicorn once the application is loaded; it returns when the last connection has ended."""
        tls = (lambda: self.cfg.ssl_context(self.cfg, None)) if self.cfg.is_ssl else None
        reception = self._reception = EventLoop(self.sockets, self.cfg, self.wsgi, self.log.access, tls)
        while self.alive and self.ppid == os.getppid():
            self.notify()
            reception.turn()
        reception.leave()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while not reception.empty and time.monotonic() < deadline:
            self.notify()
            reception.turn()
        reception.close()
