"""A run of the checks on one backend, and what came of it."""
