"""Hostile requests: generated from the agent's own document, and collected by hand."""
