"""The agent's gunicorn configuration without its hooks, which start the engine."""

import runpy
from pathlib import Path

from gunicorn.config import KNOWN_SETTINGS

_hooks = {setting.name for setting in KNOWN_SETTINGS if setting.section == "Server Hooks"}
_agent = runpy.run_path(str(Path(__file__).resolve().parent.parent / "gunicorn.conf.py"))
globals().update({name: value for name, value in _agent.items() if name not in _hooks})
wsgi_app = "bench.noop:app"
