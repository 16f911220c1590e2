"""Shadows the library sdbus, so that an agent runs as if the extra [systemd] were not installed."""

raise ImportError("hidden for this test")
