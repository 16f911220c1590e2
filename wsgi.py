"""The WSGI application that gunicorn serves, with the settings of this process."""

import sys

from agent import config, create_app
from agent.errors import ConfigError

WORKER_BOOT_ERROR = 3
"""What tells gunicorn not to start this worker again and again."""

try:
    app = create_app(config.current())
except ConfigError as error:
    print(f"agent: {error}", file=sys.stderr)
    sys.exit(WORKER_BOOT_ERROR)
