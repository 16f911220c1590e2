"""Generators: the polkit rule from the configuration, and the page of kinds."""
