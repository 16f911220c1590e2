"""Jobs: long work that outlives the agent, each run once by a process of its own."""
