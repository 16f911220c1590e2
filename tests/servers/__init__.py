"""Real servers for the tests: each started on temporary paths and stopped by its pid."""
