"""Receivers of callbacks, and the callbacks that they get."""
