"""Containers of this host: the client of the container engine, and idempotent restarts."""
