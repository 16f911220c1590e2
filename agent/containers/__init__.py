"""Containers of this host: the engine that runs them, and how one is restarted once."""
