"""How gunicorn serves the agent: one worker with threads, and the engine's life beside it."""

import os
import ssl
import sys

# Jobs may write into the working directory, and gunicorn puts it first on the path of modules: now, and again after
# this file. Nothing is imported from there, unless PYTHONPATH names it.
_here = os.getcwd()
if _here not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
    sys.path_importer_cache[_here] = None
    sys.path[:] = [each for each in sys.path if each not in ("", _here)]

from agent.server import lifecycle  # noqa: E402

_settings = lifecycle.settings()

wsgi_app = "wsgi:app"
bind = list(_settings.api.bind)
umask = _settings.api.umask
# One worker: the queue is executed by one process, and one is enough for an agent's callers.
workers = 1
preload_app = False
reload = False
reuse_port = False
worker_class = "agent.server.worker.Worker"
logger_class = "agent.server.logger.Logger"
threads = _settings.api.threads
# Seconds. The arbiter would kill a worker that waits for its last step after a reload.
timeout = 0
graceful_timeout = 30
# Clients that poll keep their connection.
keepalive = 75
# A client has this much room to say what it wants: bytes of the request line, headers, bytes of each.
limit_request_line = 4094
limit_request_fields = 100
limit_request_field_size = 8190
# Connections, idle ones among them; the worker closes the oldest idle ones where more want in.
worker_connections = 512
# What a caller says in a header changes neither the address it asks for nor how it came; gunicorn would believe
# every caller from this machine or by a unix socket.
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
