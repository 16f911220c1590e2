"""gunicorn's configuration: one worker with threads; the hooks start and stop the engine."""

import os
import ssl
import sys

# gunicorn puts the working directory first on sys.path, before and after this file. Jobs may write into that directory:
# nothing is imported from it, unless PYTHONPATH names it.
_here = os.getcwd()
if _here not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
    sys.path_importer_cache[_here] = None
    sys.path[:] = [each for each in sys.path if each not in ("", _here)]

from agent.server import lifecycle  # noqa: E402

_settings = lifecycle.settings()

wsgi_app = "wsgi:app"
bind = list(_settings.api.bind)
umask = _settings.api.umask
# One process executes the queue, and one is enough for an agent's callers.
workers = 1
preload_app = False
reload = False
reuse_port = False
worker_class = "agent.server.worker.Worker"
logger_class = "agent.server.logger.Logger"
threads = _settings.api.threads
# No timeout: the arbiter would kill a worker that waits for its last step after a reload.
timeout = 0
graceful_timeout = 30
# Clients that poll keep their connection.
keepalive = 75
# Maximum bytes of the request line, number of headers, bytes of one header.
limit_request_line = 4094
limit_request_fields = 100
limit_request_field_size = 8190
# Maximum number of connections, with the idle ones; the worker closes the oldest idle ones to accept others.
worker_connections = 512
# No header changes the path or the scheme of a request. gunicorn would accept such headers from loopback addresses and
# unix sockets.
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
forwarded_allow_ips = ""
# gunicorn would open a socket under the home directory.
control_socket_disable = True
proc_name = "agent"

if _tls := _settings.api.tls:
    certfile, keyfile = str(_tls.certificate), str(_tls.key)
    ca_certs = str(_tls.clients_ca) if _tls.clients_ca else None
    cert_reqs = ssl.CERT_REQUIRED if _tls.clients_ca else ssl.CERT_NONE
    ssl_context = lifecycle.ssl_context

on_starting = lifecycle.on_starting
when_ready = lifecycle.when_ready
on_reload = lifecycle.on_reload
post_fork = lifecycle.post_fork
post_worker_init = lifecycle.post_worker_init
worker_exit = lifecycle.worker_exit
