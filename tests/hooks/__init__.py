"""Signed pushes that deploy, each once."""
