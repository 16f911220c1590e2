"""Receives requests and sends answers. Slow connections hold no thread."""
