"""Tests of agent/util."""
