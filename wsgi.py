"""The WSGI application that gunicorn serves, with the settings of this process."""

import os
import sys

from agent import config, create_app
from agent.errors import ConfigError
from agent.log.setup import refusal_to_start

WORKER_BOOT_ERROR = 3
"""gunicorn does not restart a worker that exits with this status."""

if config.loaded() is None:
    # Another configuration of gunicorn, or another server, would run neither the engine nor the checks at the start.
    print("agent: start it as gunicorn -c gunicorn.conf.py, with the file that it ships with", file=sys.stderr)
    sys.exit(WORKER_BOOT_ERROR)

try:
    app = create_app(config.current())
except ConfigError as error:
    print(refusal_to_start(str(error)), file=sys.stderr)
    # `lifecycle.on_starting` exits with the same status.
    sys.exit(os.EX_CONFIG)
