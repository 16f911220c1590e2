"""The engine in this process, with small fake kinds."""
