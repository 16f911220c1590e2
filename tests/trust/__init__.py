"""Nobody gets in who should not."""
