"""Runs the queue: one action at a time, in order, by one process."""
