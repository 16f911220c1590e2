"""The WSGI application that gunicorn serves, with the settings of this process."""

import os
import sys

from agent import config, create_app
from agent.errors import ConfigError
from agent.log.setup import refusal_to_start

WORKER_BOOT_ERROR = 3
"""The exit status with which gunicorn does not start this worker again and again."""

if config.loaded() is None:
    # Another configuration of gunicorn, or another server, would neither start the engine nor check who is served.
    print("agent: start it as gunicorn -c gunicorn.conf.py, with the file that it ships with", file=sys.stderr)
    sys.exit(WORKER_BOOT_ERROR)

try:
    app = create_app(config.current())
except ConfigError as error:
    print(refusal_to_start(str(error)), file=sys.stderr)
    # `serving.on_starting` has gunicorn end with this status too.
    sys.exit(os.EX_CONFIG)
