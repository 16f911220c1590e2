"""Tests of agent/jobs."""
