"""Processes of this host: started, watched, identified, ended."""
