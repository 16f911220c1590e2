"""Pushes that deploy: signed, each taken once."""
