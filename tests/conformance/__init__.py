"""The Actions API, checked from outside against its protocol and not against the code."""
