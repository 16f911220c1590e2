"""The state file: its promises hold for any code above it."""
