"""Tests of agent/processes."""
