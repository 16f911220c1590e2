"""Measures the agent's promises about speed and size: `python -m bench`."""
