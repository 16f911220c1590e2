"""For a master that shall have a new worker quickly: what a worker imports is loaded before it is forked."""

import sys

if any("gunicorn" in word for word in sys.orig_argv):
    import agent.api
    import agent.kinds.registry  # noqa: F401
