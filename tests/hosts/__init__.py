"""Tests of what the host does for an action."""
