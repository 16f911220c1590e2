"""What the host itself does for an action: commands, long jobs, processes."""
