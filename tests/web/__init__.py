"""The page, tested in a real Chromium."""
