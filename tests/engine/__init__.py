"""The engine in this process, with tiny fakes for kinds."""
