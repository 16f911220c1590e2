"""No kind: makes the agent that imports it skip every fsync."""

import agent.store

agent.store.PRAGMAS = (*agent.store.PRAGMAS, "PRAGMA synchronous = OFF")
