"""No kind: makes the agent that imports it believe that the disk need not be told to write."""

import agent.store

agent.store.PRAGMAS = (*agent.store.PRAGMAS, "PRAGMA synchronous = OFF")
