"""Jobs: long work that outlives the agent; each is run once by its own process."""
