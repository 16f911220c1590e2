"""The agent's account in each datastore, with the rights that its kinds need."""
