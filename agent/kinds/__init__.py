"""What the agent can do: a file a kind or family, found by being here."""
