"""No kind: makes the agent that imports it wait for somebody else's lock on the file no longer than it is told."""

import os

import agent.store

agent.store.BUSY_TIMEOUT = float(os.environ["BUSY_TIMEOUT"])
