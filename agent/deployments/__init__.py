"""Deploying an application: git, its releases, its commands, its units."""
