"""What nobody would send on purpose: made up from the agent's own document, and collected by hand."""
