"""What agentctl generates from the configuration and the kinds: the polkit rule, the page of kinds."""
