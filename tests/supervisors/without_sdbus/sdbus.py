"""Stands before the library in the path of an agent that is to run as if the extra [systemd] were not installed."""

raise ImportError("hidden for this test")
