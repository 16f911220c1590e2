"""Serializes rows of the store for answers and callbacks."""
