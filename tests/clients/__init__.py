"""Clients that exist, as strict as their typed models: what they ask, and what they make of each answer."""
