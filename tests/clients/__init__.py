"""Existing clients with strict typed models: their requests, and how they read each answer."""
