"""The file of state: its promises, whatever the code above it does."""
