"""Who calls: tokens, certificates and users of this host, and the files that say so."""
