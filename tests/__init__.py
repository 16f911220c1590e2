"""Tests of the agent through its interfaces and against real servers."""
