"""How the rows of the store look on the wire."""
