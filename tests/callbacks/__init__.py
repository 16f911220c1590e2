"""Receivers that are told of every final action, and what they make of it."""
