"""No kind: gives the agent that imports it a chosen timeout for SQLite's lock."""

import os

import agent.store

agent.store.BUSY_TIMEOUT = float(os.environ["BUSY_TIMEOUT"])
