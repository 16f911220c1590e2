"""Authentication of callers by token, client certificate or user of this host, and the trusted files for it."""
