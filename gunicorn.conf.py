"""How gunicorn serves the agent: one worker with threads, and the engine's life beside it."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from agent import serving

_settings = serving.settings()

wsgi_app = "wsgi:app"
bind = _settings.api.bind
# One worker: the queue is executed by one process, and one is enough for an agent's callers.
workers = 1
worker_class = "agent.worker.Worker"
threads = _settings.api.threads
# Seconds. The arbiter would kill a worker that waits for its last step after a reload.
timeout = 0
graceful_timeout = 30
# Clients that poll keep their connection.
keepalive = 75
# gunicorn would open a socket under the home directory.
control_socket_disable = True
proc_name = "agent"

on_starting = serving.on_starting
post_worker_init = serving.post_worker_init
worker_exit = serving.worker_exit
