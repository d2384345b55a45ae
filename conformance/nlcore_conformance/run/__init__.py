"""A run of the checks on one backend, its results, and the verdict."""
