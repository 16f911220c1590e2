"""Starts, watches, identifies and ends processes of this host."""
