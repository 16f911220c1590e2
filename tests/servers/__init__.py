"""Real servers for the tests: each is started on temporary paths and stopped by its pid."""
