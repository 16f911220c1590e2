"""Real agents under kills, reloads, clock jumps, disk faults and a second agent on the same database."""
