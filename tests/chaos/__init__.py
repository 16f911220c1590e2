"""Real agents that are killed, reloaded, doubled and lied to about the time."""
