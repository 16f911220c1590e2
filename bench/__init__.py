"""Measure what the agent promises about its speed and size: `python -m bench`."""
