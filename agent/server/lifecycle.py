"""The hooks of gunicorn's configuration: read the settings, start and stop the engine with the worker."""

import gc
import os
import ssl
import subprocess
import sys
from typing import Any, NoReturn

from gunicorn.errors import HaltServer

from agent import config, log, maintenance
from agent.auth import trusted_file
from agent.config import Settings
from agent.errors import AddressTaken, ConfigError, StoreUnavailable, StoreUnusable
from agent.log.setup import TEXT, refusal_to_start, set_up
from agent.server import addresses_in_use, command_line, listeners, sd_notify, startup_checks, tls, unix_sockets

MAY_PASS = 1
"""Exit status if a retry may succeed; `os.EX_CONFIG` (78) means that only a change of the configuration helps."""


_changed: list[str] = []
"""The names of the options that the last reload changed."""


def settings() -> Settings:
    """Read the configuration at the start and at each reload. An invalid one prevents a start but not a reload."""
    before = config.loaded()
    set_up(before.log.format if before is not None else TEXT)
    try:
        if before is None:
            command_line.check()
        else:
            _check_in_subprocess()
        after = config.reload()
    except ConfigError as error:
        if before is None:
            _refuse_to_start(*error.mistakes)
        log.configuration_kept(str(error))
        return before
    set_up(after.log.format)
    _changed[:] = config.changed(before, after) if before is not None else []
    return after


def _check_in_subprocess() -> None:
    """Check in a separate process whether a worker can start; raises `ConfigError`.

    The master never imports kinds, so each new worker reads them again; a broken kind would end the master.
    """
    if (file := config.file()) is not None:
        trusted_file.check_file(file)  # before the other process switches to the file's owner
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", "-m", "agent.cli", "config", "check"]
    tried = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if tried.returncode:
        mistakes = [line for line in tried.stderr.splitlines() if not line.startswith("warning: ")]
        raise ConfigError(*mistakes or ["it cannot be read"])


def on_starting(arbiter: Any) -> None:
    """Check the trusted files and the database before any socket listens; exits if they cannot be used."""
    from agent.store import Store, audit_events

    _forget_working_directory()
    store = Store(config.current().agent.db)
    try:
        addresses_in_use.refuse_taken(config.current().api)
        startup_checks.check(config.current(), config.file())
        store.open()
        startup_checks.restrict_database_mode(store.path)
        store.write(lambda connection: audit_events.add(connection, "agent.started", {}))
    except ConfigError as error:
        _refuse_to_start(*error.mistakes)
    except StoreUnusable as error:
        _refuse_to_start(str(error))
    except AddressTaken as error:
        _refuse_to_start(str(error), status=MAY_PASS)
    except StoreUnavailable as error:
        _refuse_to_start(
            f"agent.db: {store.path} cannot be opened: {'; '.join(error.layers)}: "
            "let agent.db name a file, in a directory, that the agent's user may write",
            status=MAY_PASS,
        )
    finally:
        # SQLite's connections must not cross a fork.
        store.close()
    # A worker that cannot load the application ends its master with this status, which systemd does not restart.
    arbiter.APP_LOAD_ERROR = os.EX_CONFIG
    sd_notify.withhold()


def when_ready(arbiter: Any) -> None:
    """Check the sockets before any worker accepts connections."""
    sd_notify.restore()
    try:
        listeners.check(config.current().api)
        unix_sockets.secure(config.current().api)
    except ConfigError as error:
        _refuse_to_start(str(error))


def on_reload(arbiter: Any) -> None:
    """Compare the sockets with the configuration after a reload. Raises `HaltServer` if they differ."""
    _forget_working_directory()
    try:
        listeners.check(config.current().api)
        unix_sockets.secure(config.current().api)
    except ConfigError as error:
        raise HaltServer(str(error), os.EX_CONFIG) from None
    _note_reloaded()


def _note_reloaded() -> None:
    """Add the reload to the audit trail, with the names of the changed options."""
    from agent.store import Store, audit_events

    names, _changed[:] = list(_changed), []
    store = Store(config.current().agent.db)
    try:
        store.write(lambda connection: audit_events.add(connection, "configuration.reloaded", {"changed": names}))
    except (StoreUnavailable, StoreUnusable) as error:
        log.store_unavailable([str(error)])
    finally:
        # SQLite's connections must not cross a fork.
        store.close()


def _forget_working_directory() -> None:
    """Remove the working directory from `sys.path`: gunicorn adds it again after `gunicorn.conf.py` has disabled it."""
    here = os.getcwd()
    if sys.path_importer_cache.get(here, here) is None:
        sys.path[:] = [each for each in sys.path if each != here]


def ssl_context(configured: Any, default: Any) -> ssl.SSLContext:
    """The TLS context of new connections, for gunicorn."""
    return tls.of_this_worker().current()


def post_fork(arbiter: Any, worker: Any) -> None:
    """Feed the watchdog while the worker boots."""
    sd_notify.feed_during_boot()


def post_worker_init(worker: Any) -> None:
    """Start the engine. Its threads live in the worker."""
    set_up(config.current().log.format)
    startup_checks.warn(config.current())
    maintenance.warn_if_in_memory(config.current())
    # The objects loaded so far live as long as the process: exclude them from garbage collection.
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 20, 20)
    worker.wsgi.extensions["agent"].engine.start()
    sd_notify.announce()
    for begin in worker.wsgi.extensions.get("agent.after_start", ()):
        begin()


def worker_exit(arbiter: Any, worker: Any) -> None:
    """Stop the engine after the running step. Also called after a failed boot, and in the master for a lost worker."""
    app = getattr(worker, "wsgi", None)
    if app is not None:
        app.extensions["agent"].engine.stop(timeout=24 * 3600)


def _refuse_to_start(*reasons: str, status: int = os.EX_CONFIG) -> NoReturn:
    for reason in reasons:
        print(refusal_to_start(reason), file=sys.stderr)
    sys.exit(status)
