"""Tests of the agent, through its front door and against real servers."""
