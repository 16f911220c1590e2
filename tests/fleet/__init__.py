"""Three booted nodes with a datastore each, driven by the Ansible collection: `python -m tests.fleet`."""
